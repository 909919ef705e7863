"""Each leaf is clipped by the history of its own clipped norms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from tests.transforms.factories import loose

STEPS, WARMUP = 60, 10
NAMES = ("calm", "falling", "wild")
LABEL = "clip_by_leaf_average_norm"


def _norms(seed: int) -> np.ndarray:
    """Norms of three leaves, [STEPS, 3], with faults of one leaf and of all strewn in.

    They stay far from the threshold, so that no rounding decides.
    """
    rng = np.random.default_rng(seed)
    norms = np.exp(0.3 * rng.normal(size=(STEPS, 3)))
    norms[:, 1] *= 0.95 ** np.arange(STEPS)
    norms[4, 2], norms[20, 2], norms[33, 0], norms[34, 2] = 1e6, 1e25, 1e-25, 0
    norms[[2, 40], 1] = np.nan, np.inf
    norms[[6, 45]] = 0
    return norms.astype(np.float32)


@jax.jit
def _run(norms: jax.Array, numbers: dict[str, Any]) -> Any:
    """What comes out of gradients with these norms, and the state after each."""
    tx = loose(ltd.clip_by_leaf_average_norm(**numbers, warmup_steps=WARMUP))
    direction = jnp.array([0.6, -0.8], jnp.float32)

    def step(state: Any, row: jax.Array) -> Any:
        gradient = {k: row[i] * direction for i, k in enumerate(NAMES)}
        update, state = tx.update(gradient, state)
        return state, (jnp.stack([update[k][0] / 0.6 for k in NAMES]), state)

    params = dict.fromkeys(NAMES, direction)
    return jax.lax.scan(step, tx.init(params), norms)[1]


def _paper(norms: np.ndarray, multiple: float, decay: float, max_norm: float) -> Any:
    """The rule of the paper, and what the docstring adds to it, in float64."""
    averages, counted = np.zeros(3), 0
    out, seen, shares, factors = [], [], [], []
    for row in norms.astype(np.float64):
        total = np.sqrt(np.sum(row**2))
        limits = np.where(averages > 0, multiple * averages, max_norm)
        after = np.minimum(row, limits)
        if counted < WARMUP:
            after = row * min(1, max_norm / max(total, 1e-300))
        after = after if np.isfinite(total) else row
        for i in range(3):
            if not np.isfinite(total) or row[i] == 0:
                continue
            if averages[i] == 0:
                averages[i] = after[i]
            elif counted < WARMUP:
                averages[i] = min(averages[i], after[i])
            else:
                averages[i] = decay * averages[i] + (1 - decay) * after[i]
        counted += np.isfinite(total) and total > 0 and counted < WARMUP
        out.append(after)
        seen.append(averages.copy())
        clipped = np.isfinite(total) & (after < row)
        shares.append(np.mean(clipped))
        factors.append(min([1, *(after[clipped] / row[clipped])]))
    return np.array(out), np.array(seen), np.array(shares), np.array(factors)


@pytest.mark.parametrize(
    ("multiple", "decay", "max_norm"),
    [(1.04, 0.99, 1.0), (3.0, 0.5, 2.5), (0.5, 0.9, 1e30)],
)
def test_the_rule_of_the_paper(multiple, decay, max_norm):
    numbers = {"multiple": multiple, "decay": decay, "max_norm": max_norm}
    norms = _norms(0)
    after, states = jax.device_get(_run(norms, numbers))
    out, averages, shares, factors = _paper(norms, **numbers)
    np.testing.assert_allclose(after, out, rtol=1e-5)
    np.testing.assert_allclose(states.averages, averages, rtol=1e-5)
    np.testing.assert_allclose(states.leaf_record.norms, norms, rtol=1e-6)
    np.testing.assert_allclose(states.record.scale, factors, rtol=1e-5)
    finite = np.isfinite(norms).all(axis=1)
    recent = states.record.recent_clips[-1][-finite.sum() :]
    np.testing.assert_allclose(recent, shares[finite], rtol=1e-6)
    assert states.record.clipped_count[-1] == np.sum(shares > 0)
    assert states.record.nonfinite_count[-1] == 2


@pytest.mark.parametrize("scale", [2.0**60, 2.0**-60])
def test_the_size_of_the_norms_does_not_matter(scale):
    """With sums of squares that overflow, or vanish, in every leaf."""
    norms = np.clip(_norms(1), 1e-3, 1e3)
    numbers = {"multiple": 1.04, "decay": 0.9, "max_norm": 1.0}
    after, states = jax.device_get(_run(norms, numbers))
    numbers["max_norm"] = scale
    scaled, scaled_states = jax.device_get(_run(norms * np.float32(scale), numbers))
    np.testing.assert_allclose(scaled, after * scale, rtol=1e-6)
    np.testing.assert_allclose(scaled_states.averages, states.averages * scale, 1e-6)


def test_leaves_far_apart_have_the_averages_that_each_has_alone():
    sizes = {"half": 500.0, "huge": 5e20, "tiny": 5e-30, "zero": 0.0, "none": 0.0}
    gradient = {
        "half": jnp.array([300, 400], jnp.float16),
        "huge": jnp.array([3e20, 4e20j], jnp.complex64),
        "tiny": jnp.array([3e-30, 4e-30]),
        "zero": jnp.zeros(2),
        "none": jnp.zeros((0, 2)),
    }
    tx = loose(ltd.clip_by_leaf_average_norm(2.0, max_norm=jnp.inf, warmup_steps=1))
    update = jax.jit(tx.update)
    _, state = update(gradient, tx.init(gradient))
    assert state.record.norm == np.float32(5e20)
    averages = dict(zip(sorted(sizes), state.averages, strict=True))
    for name, size in sizes.items():
        np.testing.assert_allclose(averages[name], size, rtol=1e-6)
    # Each is now four times as large, in float16 three as there is no more room.
    larger = {k: x * (3 if k == "half" else 4) for k, x in gradient.items()}
    new, state = update(larger, state)
    for name, leaf in new.items():
        expected = 2 * np.asarray(gradient[name], np.complex128)
        assert leaf.dtype == gradient[name].dtype
        np.testing.assert_allclose(
            leaf, expected, rtol=1e-3 if name == "half" else 1e-6
        )
    np.testing.assert_allclose(state.record.recent_clips[-1], 3 / 5)


def test_a_leaf_that_was_zero_all_along_is_held_to_max_norm_at_its_first_norm():
    tx = loose(ltd.clip_by_leaf_average_norm(2.0, max_norm=3.0, warmup_steps=1))
    gradient = {"early": jnp.array([1.0]), "late": jnp.array([0.0])}
    _, state = tx.update(gradient, tx.init(gradient))
    new, state = tx.update({"early": jnp.array([1.0]), "late": jnp.array([9.0])}, state)
    assert new == {"early": 1, "late": 3}
    np.testing.assert_allclose(state.averages, [1, 3])


def test_a_threshold_falls_without_end_and_recovers():
    numbers = {"multiple": 1.5, "decay": 0.5, "max_norm": 1.0}
    sizes = np.full((STEPS, 3), 1e-37, np.float32)
    sizes[20:] = 1e-30  # Ten million times as much: 1.25 times more at each step.
    _, states = jax.device_get(_run(sizes, numbers))
    steps = np.arange(1, STEPS - 19)
    np.testing.assert_allclose(states.averages[20:, 0], 1e-37 * 1.25**steps, rtol=1e-5)


def _leaf_norms(opt_state: Any) -> dict[str, Any]:
    found = ltd.metrics(opt_state, leaf_norms=True)
    assert list(found)[: len(ltd.metrics(opt_state))] == list(ltd.metrics(opt_state))
    return {k: float(v) for k, v in found.items() if "/leaf_norm" in k}


def recorder() -> Any:
    """What clips nothing."""
    return ltd.clip_by_leaf_average_norm(float("inf"), max_norm=float("inf"))


TREE = {
    "net": [jnp.array([3.0, 4.0]), None, {"k": jnp.array(2.0), "n": jnp.array(7)}],
    "off": jnp.array([1.0]),
}


def test_the_norm_of_each_leaf_by_its_path():
    tx = loose(optax.chain(optax.identity(), recorder(), optax.sgd(0.1)))
    bad = {**TREE, "off": jnp.array([jnp.nan])}
    update, state = tx.update(bad, tx.init(TREE), TREE)
    norms = _leaf_norms(state)
    assert norms.pop(f"{LABEL}/leaf_norm/off") != 0
    assert norms == {f"{LABEL}/leaf_norm/net/0": 5, f"{LABEL}/leaf_norm/net/2/k": 2}
    np.testing.assert_allclose(update["net"][0], [-0.3, -0.4], rtol=1e-6)


def test_under_masks_labels_and_for_a_single_array():
    mask = {"net": [True, None, {"k": True, "n": True}], "off": False}
    tx = loose(optax.masked(recorder(), mask))
    _, state = tx.update(TREE, tx.init(TREE), TREE)
    assert list(_leaf_norms(state)) == [
        f"{LABEL}/leaf_norm/net/0",
        f"{LABEL}/leaf_norm/net/2/k",
    ]
    labels = {"net": "x", "off": "y"}
    tx = loose(optax.multi_transform({"x": recorder(), "y": recorder()}, labels))
    _, state = tx.update(TREE, tx.init(TREE), TREE)
    assert _leaf_norms(state) == {
        f"x/{LABEL}/leaf_norm/net/0": 5,
        f"x/{LABEL}/leaf_norm/net/2/k": 2,
        f"y/{LABEL}/leaf_norm/off": 1,
    }
    tx = loose(recorder())
    _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
    assert _leaf_norms(state) == {f"{LABEL}/leaf_norm": 5}


def test_paths_that_read_the_same_are_told_apart():
    tree = {"a": {"b": jnp.array([1.0])}, "a/b": jnp.array([2.0])}
    tx = loose(recorder())
    _, state = tx.update(tree, tx.init(tree))
    name = f"{LABEL}/leaf_norm/a/b"
    assert _leaf_norms(state) == {name: 1, f"{name}_2": 2}


def test_an_ensemble_has_one_norm_a_member():
    tx = loose(recorder())
    members = {"w": jnp.array([[3.0, 4.0], [6.0, 8.0]])}
    _, states = jax.jit(jax.vmap(lambda g: tx.update(g, tx.init(g))))(members)
    found = ltd.metrics(states, leaf_norms=True)
    np.testing.assert_allclose(found[f"{LABEL}/leaf_norm/w"], [5, 10])


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(3, 1, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layers[0](self.first(x))


def test_in_a_jitted_step_of_a_flax_optimizer():
    model = Model(nnx.Rngs(0))
    tx = optax.chain(recorder(), optax.adam(0.1))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        grads = nnx.grad(lambda model: jnp.mean(model(x) ** 2))(model)
        optimizer.update(model, grads)
        return ltd.metrics(optimizer.opt_state, leaf_norms=True), grads

    step(model, optimizer, jnp.ones((4, 2)))
    found, grads = step(model, optimizer, jnp.ones((4, 2)))
    leaves = nnx.to_pure_dict(grads)
    expected = {
        f"{LABEL}/leaf_norm/first/bias": leaves["first"]["bias"],
        f"{LABEL}/leaf_norm/first/kernel": leaves["first"]["kernel"],
        f"{LABEL}/leaf_norm/layers/0/bias": leaves["layers"][0]["bias"],
        f"{LABEL}/leaf_norm/layers/0/kernel": leaves["layers"][0]["kernel"],
    }
    assert [k for k in found if "leaf_norm/" in k] == list(expected)
    for name, leaf in expected.items():
        np.testing.assert_allclose(found[name], np.linalg.norm(leaf), rtol=1e-6)


def test_refusals():
    state = ltd.clip_by_value(1.0).init(TREE)
    message = (
        rf"`opt_state` must hold the state of `{LABEL}` where `leaf_norms` is True"
    )
    with pytest.raises(ValueError, match=f"{message}; got a ClipByValueState without"):
        ltd.metrics(state, leaf_norms=True)
    with pytest.raises(ValueError, match=r"`leaf_norms` must be True or False; got 1 "):
        ltd.metrics(state, leaf_norms=1)  # pyright: ignore[reportArgumentType]
    tx = loose(recorder())
    with pytest.raises(ValueError, match=r"`updates` must have as .* was given, 3; "):
        tx.update({"w": jnp.ones(2)}, tx.init(TREE))


def test_a_condition_that_reads_the_leaves_returns_a_vector():
    tree = [jnp.ones((3, i)) for i in range(1, 9)]
    tx = loose(recorder())
    jaxpr = jax.make_jaxpr(tx.update)(tree, tx.init(tree))
    rows = [
        [max((len(x.aval.shape) for x in xs), default=0) for xs in ends]
        for ends in _conditions(jaxpr.jaxpr)
    ]
    assert {returned for read, returned in rows if read > 1} == {1}


def _conditions(jaxpr: Any) -> Any:
    """What goes into the conditions of a program, and what comes out of them."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cond":
            yield equation.invars, equation.outvars
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _conditions(inner)

"""Outside of `jit` an update is one program, which all factories share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from optax_ltd._transforms.records import record
from tests.slow import slow_but
from tests.transforms.factories import (
    GRADIENTS,
    KINDS,
    PARAMS,
    VARIANTS,
    each_variant,
    flat,
    jitted_update,
    loose,
    same,
    signature,
)


@pytest.fixture
def no_body(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """Called once all is compiled: from then on no body is run, nothing compiled."""

    def ran(_: Any) -> None:
        raise AssertionError("an update's body was run, by a trace or step by step")

    def forbid() -> Any:
        monkeypatch.setattr(record, "leaf_paths", ran)
        return jax.log_compiles()

    yield forbid
    assert not [m for m in caplog.messages if m.startswith("Compiling")]


def of_gradient(gradient: Any) -> Any:
    """The operands that tell whether a call goes through the compiled program."""
    tx = loose(ltd.clip_by_global_norm(1.0))
    return tx, tx.init(gradient)


# Under `inject_hyperparams` Optax makes arrays of the numbers, for every factory alike.
INJECTED = ("clip_by_average_norm", "clip_or_random_step", "skip_steps")
UPDATES = [(name, injected) for name in VARIANTS for injected in (False, True)]


@pytest.mark.parametrize(
    ("name", "injected"),
    slow_but(
        [(name, False) for name in KINDS] + [(name, True) for name in INJECTED],
        UPDATES,
    ),
)
def test_the_second_update_compiles_nothing(
    name: str, injected: bool, no_body: Any
) -> None:
    variant = VARIANTS[name]
    tx = variant.injected() if injected else variant.make()
    state = tx.init(PARAMS)
    _, state = tx.update(GRADIENTS["small"], state, PARAMS)
    with no_body():
        tx.update(GRADIENTS["one nan"], state, PARAMS)


@each_variant(fast=KINDS)
def test_it_gives_what_jit_gives(name: str) -> None:
    tx = VARIANTS[name].make()
    state = expected_state = tx.init(PARAMS)
    for kind in ("large", "one nan", "huge", "small"):
        updates, state = tx.update(GRADIENTS[kind], state, PARAMS)
        expected, expected_state = jitted_update(name)(
            GRADIENTS[kind], expected_state, PARAMS
        )
        for leaf, other in zip(
            jax.tree.leaves((updates, state)),
            jax.tree.leaves((expected, expected_state)),
            strict=True,
        ):
            np.testing.assert_allclose(leaf, other, rtol=1e-6)
        assert signature((updates, state)) == signature((expected, expected_state))


def test_all_thresholds_share_one_program(no_body: Any) -> None:
    gradient = {"w": jnp.array([3.0, 4.0])}
    state = ltd.clip_by_global_norm(1.0).init(gradient)
    ltd.clip_by_global_norm(1.0).update(gradient, state)
    with no_body():
        for max_norm in (0.5, 2.5, float("inf")):
            tx = loose(ltd.clip_by_global_norm(max_norm))
            updates, _ = tx.update(gradient, state)
            norm = min(max_norm, 5)
            np.testing.assert_allclose(np.linalg.norm(flat(updates)), norm, rtol=1e-6)


def test_masks_made_anew_share_one_program(no_body: Any) -> None:
    def factory() -> Any:
        mask = lambda params: {"a": True, "b": params["b"].ndim == 1}
        return ltd.nonfinite_random_step(fallback="shrink", shrink_mask=mask)

    state = factory().init(PARAMS)
    factory().update(GRADIENTS["one nan"], state, PARAMS)
    with no_body():
        updates, _ = factory().update(GRADIENTS["one nan"], state, PARAMS)
    np.testing.assert_allclose(updates["a"], 0.02 * PARAMS["a"])
    assert not np.any(updates["b"])


def test_a_number_beyond_float32_stays_in_the_program() -> None:
    tx = loose(ltd.nonfinite_random_step(1e300, key=0))
    updates, _ = tx.update(GRADIENTS["one nan"], tx.init(PARAMS))
    largest = float(jnp.finfo(jnp.float32).max)
    np.testing.assert_allclose(abs(updates["a"]), largest / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "gradient",
    {
        "integer NumPy": {"w": jnp.ones(2), "n": np.array([2**40])},
        "float0": {"w": jnp.ones(2), "n": np.zeros(2, jax.dtypes.float0)},
        "a Python number": {"w": jnp.ones(2), "n": 3},
    }.items(),
    ids=lambda item: item[0],
)
def test_leaves_without_a_gradient_come_back_as_they_are(gradient: Any) -> None:
    _, gradient = gradient
    tx, state = of_gradient(gradient)
    updates, _ = tx.update(gradient, state)
    assert updates["n"] is gradient["n"]


def test_a_state_of_numpy_arrays_goes_through_it(no_body: Any) -> None:
    tx, state = of_gradient(PARAMS)
    saved = jax.tree.map(np.asarray, state)
    _, state = tx.update(PARAMS, state)
    with no_body():
        _, restored = tx.update(PARAMS, saved)
    assert same(restored, state)


@jax.tree_util.register_pytree_node_class
class Unhashable:
    """A node whose structure `jit` cannot take."""

    def __init__(self, leaf: Any, notes: list[str]) -> None:
        self.leaf, self.notes = leaf, notes

    def tree_flatten(self) -> Any:
        return (self.leaf,), self.notes

    @classmethod
    def tree_unflatten(cls, notes: Any, children: Any) -> Any:
        (leaf,) = children
        return cls(leaf, notes)


def test_a_tree_that_jit_refuses_is_updated_all_the_same() -> None:
    gradient = Unhashable(jnp.array([3.0, 4.0]), ["a note"])
    tx, state = of_gradient(gradient)
    updates, _ = tx.update(gradient, state)
    np.testing.assert_allclose(updates.leaf, [0.6, 0.8], rtol=1e-6)


def test_it_runs_where_jit_is_disabled() -> None:
    tx, state = of_gradient(PARAMS)
    with jax.disable_jit():
        updates, _ = tx.update(PARAMS, state)
    np.testing.assert_allclose(np.linalg.norm(flat(updates)), 1, rtol=1e-6)


def test_an_unused_parameter_may_lie_elsewhere_and_be_anything() -> None:
    # On another device `jit` would refuse it, and here it knows no such type.
    tx, state = of_gradient(PARAMS)
    updates, _ = tx.update(PARAMS, state, {"a": "anything", "b": object()})
    np.testing.assert_allclose(np.linalg.norm(flat(updates)), 1, rtol=1e-6)


@pytest.mark.parametrize("made", ["traced", "known"])
def test_under_a_trace_it_is_a_part_of_it(made: str) -> None:
    tx, state = of_gradient(PARAMS)

    def of_traced(gradient: Any) -> Any:
        return tx.update(gradient, state)

    def of_known(_: Any) -> Any:
        return tx.update(PARAMS, state)

    step = of_traced if made == "traced" else of_known
    updates, _ = jax.jit(step)(PARAMS)
    np.testing.assert_allclose(np.linalg.norm(flat(updates)), 1, rtol=1e-6)
    assert "_compiled" not in str(jax.make_jaxpr(of_traced)(PARAMS))


def test_a_threshold_can_be_differentiated() -> None:
    _, state = of_gradient(PARAMS)

    def norm(max_norm: Any) -> Any:
        updates, _ = ltd.clip_by_global_norm(max_norm).update(PARAMS, state)
        return ltd.global_norm(updates)

    np.testing.assert_allclose(jax.jit(jax.grad(norm))(1.0), 1, rtol=1e-6)


def test_what_a_chain_hands_on_may_be_a_function() -> None:
    tx = loose(optax.chain(ltd.clip_by_global_norm(1.0), optax.polyak_sgd()))
    state = tx.init(PARAMS)
    updates, _ = tx.update(
        PARAMS, state, PARAMS, value=1.0, value_fn=lambda params: 0.0
    )
    assert np.all(np.isfinite(updates["a"]))

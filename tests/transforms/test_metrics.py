"""What `metrics` finds, and under which names."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd._transforms.records.record import GradientRecord, init_record
from tests.transforms.factories import (
    GRADIENTS,
    PARAMS,
    VARIANTS,
    gradient,
    jitted_update,
    loose,
)

FIELDS = [
    "norm",
    "scale",
    "total_count",
    "clipped_count",
    "nonfinite_count",
    "nan_count",
    "nonfinite_run",
    "first_bad_leaf",
    "last_bad_update",
    "longest_nonfinite_run",
    "clipped_share",
    "inf_count",
    "norm_p50",
    "norm_p90",
    "norm_p99",
]
SKIPS = [
    "skipped_nonfinite",
    "skipped_max_norm",
    "skipped_norm_zscore",
    "skipped_loss_zscore",
    "skipped_run",
    "last_skipped_update",
    "skipped_count",
]


def _after(tx, *kinds):
    state = tx.init(PARAMS)
    for kind in kinds:
        _, state = tx.update(GRADIENTS[kind], state, PARAMS)
    return ltd.metrics(state)


def _names(metrics):
    return list(dict.fromkeys(key.rpartition("/")[0] for key in metrics))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_transformation_is_found_under_its_name(name):
    variant = VARIANTS[name]
    metrics = ltd.metrics(variant.make().init(PARAMS))
    fields = FIELDS + SKIPS * (variant.factory is ltd.skip_steps)
    assert list(metrics) == [f"{variant.factory.__name__}/{f}" for f in fields]
    assert all(jnp.shape(value) == () for value in metrics.values())


class ScaleByNewRuleState(NamedTuple):
    rule: jax.Array
    record: GradientRecord


def test_a_transformation_is_found_without_being_listed():
    new = ScaleByNewRuleState(jnp.zeros(()), init_record())
    metrics = ltd.metrics((optax.EmptyState(), {"x": new}))
    assert list(metrics) == [f"x/scale_by_new_rule/{field}" for field in FIELDS]


def test_the_values():
    metrics = _after(ltd.clip_or_random_step(2.6, key=0), "small", "one nan", "large")
    values = {key.partition("/")[2]: value.item() for key, value in metrics.items()}
    assert values == {
        "norm": pytest.approx(13),
        "scale": pytest.approx(0.2),
        "total_count": 3,
        "clipped_count": 1,
        "nonfinite_count": 1,
        "nan_count": 1,
        "inf_count": 0,
        "nonfinite_run": 0,
        "first_bad_leaf": 1,
        "last_bad_update": 1,
        "longest_nonfinite_run": 1,
        "clipped_share": 0.5,
        "norm_p50": pytest.approx(0.14**0.5),
        "norm_p90": pytest.approx(0.14**0.5),
        "norm_p99": pytest.approx(0.14**0.5),
    }


def test_inf_and_nan_are_counted_apart():
    """A gradient with both is one with a NaN."""
    kinds = ("one inf", "small", "one nan", "both", "inf and huge", "small", "all nan")
    for name in ("clip_by_value", "clip_by_global_norm", "clip_per_example"):
        state = VARIANTS[name].make().init(PARAMS)
        for kind in kinds:
            _, state = jitted_update(name)(GRADIENTS[kind], state, PARAMS)
        metrics = ltd.metrics(state)
        counts = [metrics[f"{name}/{kind}_count"] for kind in ("inf", "nan")]
        assert counts == [2, 3], name
        assert metrics[f"{name}/last_bad_update"] == 6


def test_an_example_with_a_nan_makes_the_batch_one():
    tx = loose(ltd.clip_per_example(1.0))
    examples = jnp.array([[jnp.inf], [1.0], [jnp.nan]])
    _, state = tx.update(examples, tx.init(examples[0]))
    assert state.record.nan_count == 1


def test_clip_by_value_records_its_own_norm():
    metrics = _after(ltd.clip_by_value(3.0), "large")
    assert metrics["clip_by_value/norm"] == 12
    assert metrics["clip_by_value/scale"] == 0.25


def test_one_kind_twice_gets_a_number():
    tx = optax.chain(
        ltd.clip_by_value(10.0),
        optax.chain(optax.trace(0.9), ltd.clip_by_global_norm(5.0)),
        ltd.clip_by_value(1.0),
    )
    metrics = _after(tx, "large")
    assert _names(metrics) == [
        "clip_by_value",
        "clip_by_global_norm",
        "clip_by_value_2",
    ]
    assert metrics["clip_by_value/norm"] == 12
    assert metrics["clip_by_value_2/norm"] < 5


def test_names_and_labels_come_in_front():
    named = optax.named_chain(
        ("guard", ltd.clip_by_global_norm(1.0)), ("optimizer", optax.sgd(0.1))
    )
    assert _names(_after(named, "large")) == ["guard/clip_by_global_norm"]
    split = optax.multi_transform(
        {"x": ltd.clip_by_value(1.0), "y": ltd.clip_by_value(2.0)}, {"a": "x", "b": "y"}
    )
    assert _names(_after(split, "large")) == ["x/clip_by_value", "y/clip_by_value"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.chain(optax.identity(), optax.chain(tx), optax.adam(0.1)),
        lambda tx: optax.masked(tx, {"a": True, "b": True}),
        lambda tx: optax.MultiSteps(tx, 1),
        lambda tx: optax.apply_if_finite(tx, 3),
        lambda tx: optax.flatten(tx),
        lambda tx: optax.inject_hyperparams(ltd.clip_by_global_norm)(1.0),
    ],
)
def test_wherever_it_sits(wrap):
    metrics = ltd.metrics(wrap(ltd.clip_by_global_norm(1.0)).init(PARAMS))
    assert list(metrics) == [f"clip_by_global_norm/{field}" for field in FIELDS]


@pytest.mark.parametrize("state", [optax.adam(0.1).init(PARAMS), ()])
def test_an_optimizer_without_any(state):
    message = r"`opt_state` must hold the .* of optax_ltd, .*; got a tuple without one"
    with pytest.raises(ValueError, match=message):
        ltd.metrics(state)


def test_an_ensemble_has_one_value_a_member():
    tx = ltd.clip_by_global_norm(1.0)
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves), GRADIENTS["small"], GRADIENTS["large"]
    )
    update = jax.jit(jax.vmap(lambda updates: tx.update(updates, tx.init(PARAMS))))
    _, states = update(stacked)
    metrics = ltd.metrics(states)
    counts = metrics["clip_by_global_norm/clipped_count"]
    np.testing.assert_array_equal(counts, [0, 1])
    for name, values in metrics.items():
        assert values.shape == (2,), name
    medians = metrics["clip_by_global_norm/norm_p50"]
    np.testing.assert_allclose(medians, [0.14**0.5, 13], rtol=1e-6)


def _seen(norms):
    """The metrics of a clip at norm 1 after a run of norms, of every step."""
    metrics = _metrics_of_steps(norms)
    return {k.partition("/")[2]: np.asarray(v) for k, v in metrics.items()}


@jax.jit
def _metrics_of_steps(norms):
    tx = loose(ltd.clip_by_global_norm(1.0))

    def step(state, norm):
        _, state = tx.update(norm[None], state)
        return state, ltd.metrics(state)

    return jax.lax.scan(step, tx.init(None), norms)[1]


def test_the_recent_gradients_in_a_scan():
    rng = np.random.default_rng(0)
    norms = np.exp(rng.normal(size=150)).astype(np.float32)
    norms[[0, 1, 30, 31, 32, 33, 90, 149]] = np.nan
    norms[[34, 35, 60]] = np.inf
    norms[[20, 100]] = 0
    seen = _seen(norms)
    run, longest = 0, 0
    for i in range(len(norms)):
        recent = norms[: i + 1][np.isfinite(norms[: i + 1])][-64:]
        run = 0 if np.isfinite(norms[i]) else run + 1
        longest = max(longest, run)
        expected = {
            "clipped_share": np.mean(recent > 1) if recent.size else 0,
            "longest_nonfinite_run": longest,
            **{
                f"norm_p{p}": np.percentile(recent, p, method="lower")
                for p in (50, 90, 99)
                if recent.size
            },
        }
        for name, value in expected.items():
            np.testing.assert_allclose(seen[name][i], value, rtol=1e-6, err_msg=name)
    assert longest == 6
    assert {v.dtype.name for v in seen.values()} == {"float32", "int32"}


def test_before_the_first_finite_gradient_the_recent_ones_are_zero():
    with jax.debug_nans(True):
        metrics = ltd.metrics(ltd.clip_by_value(1.0).init(PARAMS))
    for bad in (metrics, _after(ltd.clip_by_value(1.0), "all nan", "one inf")):
        for name in ("clipped_share", "norm_p50", "norm_p90", "norm_p99"):
            assert bad[f"clip_by_value/{name}"] == 0


def test_one_outlier_moves_no_percentile_and_one_beyond_range_is_finite():
    ordinary = np.arange(1, 151, dtype=np.float32)
    clean = _seen(ordinary)
    for outlier in (1e30, 3e38):
        seen = _seen(np.where(ordinary == 121, np.float32(outlier), ordinary))
        for name in ("norm_p50", "norm_p90", "norm_p99"):
            assert abs(seen[name][-1] - clean[name][-1]) <= 1
    metrics = _after(ltd.clip_by_global_norm(1.0), "beyond")
    assert metrics["clip_by_global_norm/norm"] == jnp.inf
    assert metrics["clip_by_global_norm/norm_p50"] == np.finfo(np.float32).max
    assert metrics["clip_by_global_norm/clipped_share"] == 1


class Model(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.second = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.first(x))


def test_in_a_jitted_step_of_a_flax_optimizer():
    model = Model(nnx.Rngs(0))
    tx = optax.chain(ltd.clip_or_random_step(1.0, key=0), optax.adam(0.1))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x):
        grads = nnx.grad(lambda model: jnp.mean(model(x) ** 2))(model)
        optimizer.update(model, grads)
        return ltd.metrics(optimizer.opt_state)

    step(model, optimizer, jnp.full((4, 2), 100.0))
    metrics = step(model, optimizer, jnp.full((4, 2), jnp.nan))
    assert list(metrics) == sorted(f"clip_or_random_step/{f}" for f in FIELDS)
    assert metrics["clip_or_random_step/clipped_count"] == 1
    assert metrics["clip_or_random_step/nonfinite_run"] == 1
    for params, name in (
        (model, ".first.bias"),
        (nnx.state(model), "['first']['bias']"),
        (nnx.to_pure_dict(nnx.state(model)), "['first']['bias']"),
    ):
        with pytest.raises(FloatingPointError) as error:
            ltd.raise_if_diverged(optimizer.opt_state, params)
        assert f"Inf or NaN in {name} (1 of 2" in str(error.value)


def test_nothing_flows_back_from_a_metric():
    tx = ltd.clip_by_global_norm(1.0)

    def norm(updates):
        _, state = tx.update(updates, tx.init(PARAMS))
        return ltd.metrics(state)["clip_by_global_norm/norm"]

    slope = jax.jit(jax.grad(norm))(gradient(1, 2, 3, 4))
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope))

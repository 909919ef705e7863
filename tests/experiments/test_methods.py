"""What a method makes of a gradient and asks of the recurrent layer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_ltd as ltd
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.method_table import FLOW_WORDS, OPTIMIZERS, PARTS
from optax_ltd.experiments.parts.methods import flow_options, make_optimizer, title
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.parts.task_table import TASKS

KEY = jax.random.key(0)
PARAMS = {"a": jnp.zeros(2)}
GRADS = {"a": jnp.array([3.0, 4.0])}


def step(grads: dict[str, jax.Array], updates: int = 1, **fields) -> np.ndarray:
    """The last of some updates with the same gradient, in units of the step size."""
    optimizer = make_optimizer(Config.from_dict({"learning_rate": 0.5, **fields}), KEY)
    state, made = optimizer.init(PARAMS), grads
    for _ in range(updates):
        made, state = optimizer.update(grads, state, PARAMS)
    (made,) = jax.tree.leaves(made)
    return np.asarray(made) / -0.5


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("none", [3, 4]),
        ("flow+carry-clip", [3, 4]),
        ("clip-norm", [0.6, 0.8]),
        ("clip-value", [3, 3.5]),
        # By value first, whatever the order of the words: 1 / |(3, 3.5)|.
        ("clip-norm+clip-value", np.array([3, 3.5]) / np.hypot(3, 3.5)),
        ("clip-value+clip-norm", np.array([3, 3.5]) / np.hypot(3, 3.5)),
    ],
)
def test_clips_come_in_one_order(method: str, expected):
    made = step(GRADS, method=method, max_norm=1.0, max_value=3.5)
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_a_random_step_stands_before_the_clip():
    grads = {"a": jnp.array([jnp.nan, 1.0])}
    made = step(grads, method="clip-norm+random-step", step_size=6.0, max_norm=1.0)
    # A step of size 6 was longer than the clip lets it be.
    np.testing.assert_allclose(np.linalg.norm(made), 1, rtol=1e-6)
    np.testing.assert_allclose(abs(made[0]), abs(made[1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "grads", "size"),
    [
        ("clip-random", [3.0, 4.0], 0.25),
        ("random-step", [jnp.nan, 4.0], 0.125),
        ("clip-random+random-step", [jnp.nan, 4.0], 0.125),
    ],
)
def test_random_steps_have_the_size_of_their_own_option(
    method: str, grads: list[float], size: float
):
    sizes: dict[str, Any] = {"max_norm": 0.25, "step_size": 0.125, "max_value": 0.5}
    made = step({"a": jnp.array(grads)}, method=method, **sizes)
    np.testing.assert_allclose(np.linalg.norm(made), size, rtol=1e-6)
    assert abs(made[0]) == abs(made[1])


def test_each_guard_draws_steps_of_its_own():
    optimizer = make_optimizer(Config(method="clip-random+random-step"), KEY)
    guards = jax.tree.leaves(
        optimizer.init(PARAMS), is_leaf=lambda node: hasattr(node, "key")
    )
    first, second = (np.asarray(g.key) for g in guards if hasattr(g, "key"))
    assert (first != second).any()


def test_rows_name_fields_of_a_config():
    fields = {field.name for field in dataclasses.fields(Config)}
    named = [*PARTS.values(), *OPTIMIZERS.values()]
    assert {name for row in named for name in row.fields} <= fields
    assert {name for row in TASKS.values() for name in row.options} <= fields
    assert set(FLOW_WORDS) < set(PARTS["flow"].fields)


@pytest.mark.parametrize("method", ["none", "clip-norm", "clip-value", "random-step"])
def test_every_method_counts_what_is_not_finite(method: str):
    optimizer = make_optimizer(Config(method=method), KEY)
    grads = {"a": jnp.array([jnp.nan, 1.0])}
    _, state = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    counts = ltd.metrics(state)
    assert [int(v) for k, v in counts.items() if k.endswith("nonfinite_count")] == [1]


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", [3, 4]),
        ("momentum", [4.5, 6]),  # g + m g
        ("nesterov", [5.25, 7]),  # g + m (g + m g)
        ("adam", [1, 1]),  # the sign, where gradients do not change
        # g / sqrt(v), with v = (1 - 0.9^2) g^2
        ("rmsprop", 2 * [1 / np.sqrt(0.19)]),
    ],
)
def test_second_step_of_each_optimizer(optimizer: str, expected):
    made = step(GRADS, 2, method="none", optimizer=optimizer, momentum=0.5)
    # Adam's 1 - 0.999^2 keeps four digits of float32's seven.
    np.testing.assert_allclose(made, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "begins_at"), [("constant", 0.7), ("hold", 0.9), ("rise", 0.5)]
)
@pytest.mark.parametrize("optimizer", ["momentum", "nesterov"])
def test_a_momentum_may_follow_a_schedule(
    schedule: str, begins_at: float, optimizer: str
):
    fields: dict[str, Any] = {"optimizer": optimizer, "method": "none"}
    given = step(GRADS, 2, momentum=0.7, momentum_schedule=schedule, **fields)
    expected = step(GRADS, 2, momentum=begins_at, **fields)
    np.testing.assert_allclose(given, expected, rtol=1e-6)


def test_a_schedule_ends_at_the_momentum_of_the_config():
    config = Config(optimizer="momentum", momentum=0.995, momentum_schedule="hold")
    optimizer = make_optimizer(config, KEY)

    def update(state: Any, _: None) -> Any:
        return optimizer.update(GRADS, state, PARAMS)[1], state[-1].hyperparams

    _, used = jax.jit(
        lambda: jax.lax.scan(update, optimizer.init(PARAMS), length=1003)
    )()
    # A state holds what its last update used.
    np.testing.assert_allclose(used["momentum"][:1001], 0.9, rtol=1e-6)
    np.testing.assert_allclose(used["momentum"][1001:], 0.995, rtol=1e-6)


def test_the_layer_gets_the_options_of_the_flow():
    fields = {
        "flow_weight": 3.0,
        "flow_form": "ratio",
        "flow_slopes": "held",
        "flow_reduction": "sum",
        "flow_params": "all",
        "flow_fraction": 0.5,
    }
    assert flow_options(Config.from_dict({"method": "flow", **fields})) == fields | {
        "carry_clip": None
    }
    fields |= {"method": "carry-clip", "carry_max_norm": 0.25}
    without = flow_options(Config.from_dict(fields))
    assert without["flow_weight"] == 0
    assert without["carry_clip"] == ltd.clip_carry_gradient(max_norm=0.25)


def test_the_weight_of_the_flow_halves_as_told():
    def weight(update: int, method: str = "flow", decay: float = 100) -> float | None:
        config = Config(length=10, method=method, flow_weight=3.0, flow_decay=decay)
        schedule = make_setup(config).flow_weight
        return schedule and float(schedule(jnp.int32(update)))

    assert weight(0) == 3
    assert weight(100) == 1.5
    assert weight(300) == 0.75
    assert weight(0, decay=0) is None
    assert weight(0, method="none") is None


def test_phases_of_flossing_come_before_training_and_now_and_then():
    config = Config(length=10, method="flossing", flossing_every=3, flossing_phases=2)
    flossing = make_setup(config).flossing
    assert flossing
    due = flossing.is_due(jnp.arange(10))
    np.testing.assert_array_equal(np.flatnonzero(due), [0, 3])
    assert make_setup(dataclasses.replace(config, method="none")).flossing is None


def test_flossing_is_driven_by_sequences_of_the_longest():
    flossing = make_setup(Config(length=(10, 80), method="flossing")).flossing
    assert flossing
    assert (flossing.task.sample(jax.random.key(0), 20).lengths == 80).all()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"method": "none"}, "SGD"),
        ({"method": "clip-norm+flow"}, "SGD + clip + Ω"),
        ({"method": "flow", "optimizer": "rmsprop"}, "RMSProp + Ω"),
        ({"method": "carry-clip", "optimizer": "adam"}, "Adam + carry clip"),
        ({"method": "random-step+clip-value"}, "SGD + random step + clip by value"),
        ({"method": "clip-norm+flossing"}, "SGD + clip + flossing"),
    ],
)
def test_titles(fields: dict[str, str], expected: str):
    assert title(Config.from_dict(fields)) == expected

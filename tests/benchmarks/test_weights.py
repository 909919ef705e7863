"""The tables of weights of Ω say what was measured, of the forms that they name."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from benchmarks import records
from benchmarks.weights import flow_weight, tables
from benchmarks.weights.forms import FORMS, Form
from optax_ltd._recurrent.options import Options
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.runner import Runner
from tests.benchmarks import compilation

TINY = dataclasses.replace(
    flow_weight.CONFIG,
    length=10,
    seeds=2,
    updates=3,
    test_every=3,
    test_size=20,
    hidden_size=3,
    batch_size=4,
)
WEIGHT = 0.5


@pytest.mark.parametrize(
    ("form", "defaults"), [(FORMS[0], Config()), (FORMS[1], Options())]
)
def test_each_form_is_the_one_of_its_user(form: Form, defaults: Any):
    assert form.options == {name: getattr(defaults, name) for name in form.options}


def test_the_rows_of_the_forms_can_be_compared():
    command, layer = (np.array(form.weights) for form in FORMS)
    np.testing.assert_allclose(command, 20 * layer)
    assert command[0] == 0


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    forms = [FORMS[1]._replace(weights=(0.0, WEIGHT))]
    with compilation.quick():
        return json.loads(json.dumps(flow_weight.run(TINY, forms)))


def test_networks_differ_in_their_weight_alone(seen: dict[str, Any]):
    without, with_flow = seen["forms"][0]["trained"]
    assert (without["flow_weight"], with_flow["flow_weight"]) == (0, WEIGHT)
    for name in ("gain_before", "horizon_before"):
        assert without[name] == with_flow[name]
    assert without["ratio_before"] == without["ratio"] == [0, 0]
    assert without["gain"] != with_flow["gain"] != with_flow["gain_before"]
    for came in (without, with_flow):
        numbers = [value for value in came.values() if isinstance(value, list)]
        assert {len(value) for value in numbers} == {TINY.seeds}
        assert np.isfinite(numbers).all()


def test_r_is_what_the_gradient_at_that_weight_says(seen: dict[str, Any]):
    setup = make_setup(Config.from_dict(TINY.to_dict() | FORMS[1].options))
    network = Runner(setup).network(1, trained=False)
    key = jax.random.key(flow_weight.BATCH_KEY)
    batch = setup.task.sample(key, flow_weight.BATCH_SIZE)

    def loss_fn(network: Network, weight: jax.Array) -> jax.Array:
        return setup.task.loss(network(batch, weight), batch)

    with compilation.quick():
        gradient = nnx.jit(nnx.grad(loss_fn))
        loss, both = (
            jax.tree.leaves(gradient(network, jnp.float32(w))) for w in (0, WEIGHT)
        )
    of_flow = [x - y for x, y in zip(both, loss, strict=True)]
    expected = ltd.global_norm(of_flow) / ltd.global_norm(loss)
    ratio = seen["forms"][0]["trained"][1]["ratio_before"][1]
    np.testing.assert_allclose(ratio, expected, rtol=1e-3)


def _came(**changes: Any) -> dict[str, Any]:
    """What `train` returns of two seeds."""
    return {
        "flow_weight": 0.0025,
        "gain_before": [0.7, 0.66],
        "horizon_before": [11.2, 12.6],
        "ratio_before": [0.31, 0.402],
        "ratio": [0.0004, 0.036],
        "gain": [1.0249, 1.0151],
        "horizon": [50.0, 49.7],
        "norm": [0.94, 123.4],
        "clipped": [1.0, 0.42],
        "wrong": [0.28, 0.451],
    } | changes


def test_the_table_says_what_the_record_says(seen: dict[str, Any]):
    form = {**seen["forms"][0], "trained": [_came(), _came(ratio_before=[0, 0])]}
    told, title, rows = tables.each_form([{**seen, "forms": [form]}]).split("\n\n")
    assert told == (
        "Temporal order over 10 steps, 3 tanh units from N(0, 0.1), 4 sequences an "
        "update, SGD with a learning rate of 0.05 behind a clip at 1; after 3 "
        "updates, of 2 seeds. What is told of r, gains and lags is of 200 sequences. "
        "Before training gains were 0.66 to 0.70, and a signal was lost after 11 to "
        "13 steps. At chance 75 % is wrong."
    )
    assert title == (
        'The form of `ltd.FlowRNN`: `flow_form="ratio"`, `flow_reduction="sum"`, '
        '`flow_params="all"`.'
    )
    first, second = rows.splitlines()[2:]
    assert first == (
        "| 0.0025 | 0.31 to 0.4 | below 0.001 to 0.036 | 1.02 | 50 | 0.94 to 123 "
        "| 42 to 100 % | 28 to 45 % |"
    )
    assert second.startswith("| 0.0025 | 0 | ")


def test_the_guide_reads_the_tables_right():
    """What it says of them in words; `make bench` may bring other numbers."""
    entry = json.loads((records.RESULTS / "flow_weight-cpu.json").read_text())
    c = entry["config"]
    networks = [
        {name: value[i] for name, value in came.items() if isinstance(value, list)}
        for form in entry["forms"]
        for came in form["trained"]
        for i in range(c["seeds"])
    ]
    at_chance = 0.95 * c["chance"]
    assert all(it["ratio"] < 1 for it in networks)
    # What the guide says of a ratio of 10 and more; too small is what is well below.
    enough = [it for it in networks if it["ratio_before"] > 10]
    little = [it for it in networks if 0 < it["ratio_before"] < 5]
    assert any(it["wrong"] > at_chance for it in little)
    for it in enough:
        assert it["wrong"] < at_chance
        assert abs(it["gain"] - 1) < 0.05
        assert it["horizon"] > 0.95 * c["length"]
        assert it["clipped"] == 1

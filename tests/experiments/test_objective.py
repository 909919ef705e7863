"""What a second-order optimiser is told of a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import make_optimizer
from optax_ltd.experiments.parts.objective import make_objective
from optax_ltd.experiments.parts.setup import Setup, make_setup
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trainer import Trainer
from tests.slow import slow_but

SHARED: dict[str, Any] = {
    "length": (10, 20),
    "optimizer": "hessian_free",
    "method": "none",
    "hidden_size": 6,
    "batch_size": 12,
    "test_size": 40,
}


def told(setup: Setup) -> tuple[Any, Any, Any]:
    """The network, a batch, and the functions that an update of it gets."""
    network = setup.new_network(rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(network, nnx.Param, ...)
    batch = setup.task.sample(jax.random.key(0), setup.config.batch_size)
    assert setup.objective is not None
    functions = setup.objective(
        batch, lambda params: nnx.merge(graph, params, rest, copy=True)
    )
    return network, batch, (params, functions)


@pytest.mark.parametrize(
    "readout", slow_but(["temporal_order"], ["temporal_order", "memorization_5bit"])
)
def test_it_predicts_the_first_sequences_and_scores_all(readout: str):
    config = Config(task=readout, curvature_batch_size=5, **SHARED)
    setup = make_setup(config)
    network, batch, (params, functions) = told(setup)
    first = jax.tree.map(lambda x: x[:5], batch)
    outputs, hidden = functions["predict"](params)
    jax.linearize(functions["predict"], params)
    np.testing.assert_allclose(outputs, network(first), rtol=1e-6)
    expected = np.array(network.hidden(first))
    for states, length in zip(expected, first.lengths, strict=True):
        states[length:] = 0
    np.testing.assert_allclose(hidden, expected, rtol=1e-6)
    loss = setup.task.loss(network(first), first)
    np.testing.assert_allclose(functions["loss"](outputs), loss, rtol=1e-6)
    whole = setup.task.loss(network(batch), batch)
    np.testing.assert_allclose(functions["value_fn"](params), whole, rtol=1e-6)


def test_it_leaves_out_what_is_not_asked_for():
    setup = make_setup(Config(structural_damping=0.0, **SHARED))
    network, batch, (params, functions) = told(setup)
    assert set(functions) == {"predict", "loss"}
    outputs = functions["predict"](params)
    np.testing.assert_allclose(outputs, network(batch), rtol=1e-6)


def test_the_curvature_is_of_no_more_sequences_than_there_are():
    config = Config(curvature_batch_size=13, **SHARED)
    with pytest.raises(
        InputError, match=r"at most the sequences of a batch, 12; got 13\.$"
    ):
        make_objective(config, make_setup(Config(**SHARED)).task)


@pytest.mark.slow
def test_a_run_by_it_learns():
    config = Config(
        method="none",
        length=10,
        init="sparse",
        optimizer="hessian_free",
        hidden_size=10,
        batch_size=100,
        curvature_batch_size=50,
        seeds=2,
        updates=6,
        test_every=3,
        test_size=100,
    )
    runner = Runner(make_setup(config))
    runner.train(until=6)
    first, last = runner.run.evaluations
    assert (last.train_loss < 0.8 * first.train_loss).all()
    seen = ltd.metrics(runner.opt_state)
    (key,) = (key for key in seen if key.endswith("cg_iterations"))
    assert (seen[key] > 1).all()
    np.testing.assert_array_equal(last.nonfinite, [0, 0])


@pytest.mark.slow
def test_seeds_that_take_turns_come_where_each_comes_alone():
    config = Config(curvature_batch_size=6, seeds=2, **SHARED)
    trainer = Trainer(make_setup(config), config.batch_size, None)
    seeds = [trainer.init(seed) for seed in (0, 1)]
    members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    zero = jnp.int32(0)
    together, losses = jax.jit(trainer.train)(members, zero, jnp.int32(1))
    alone = jax.jit(trainer.update)
    for i, member in enumerate(seeds):
        member, loss = alone(member, zero)
        np.testing.assert_allclose(losses[i], loss, rtol=1e-5)
        for got, want in zip(
            jax.tree.leaves(together.params),
            jax.tree.leaves(member.params),
            strict=True,
        ):
            np.testing.assert_allclose(got[i], want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("cell", "distance"), [("tanh", "squared"), ("sigmoid", "cross_entropy")]
)
def test_hidden_states_are_compared_as_suits_their_range(
    monkeypatch: pytest.MonkeyPatch, cell: str, distance: str
):
    asked: dict[str, Any] = {}

    def spy(damping: float, **options: Any) -> optax.GradientTransformation:
        asked.update(options, damping=damping)
        return optax.identity()

    monkeypatch.setattr(ltd, "hessian_free", spy)
    config = Config(
        method="none",
        optimizer="hessian_free",
        cell=cell,
        damping=2.0,
        structural_damping=0.5,
    )
    make_optimizer(config, jax.random.key(0))
    assert asked == {
        "damping": 2.0,
        "structural_damping": 0.5,
        "hidden_distance": distance,
    }

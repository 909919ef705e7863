"""A runner against the loop that it stands for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd import tasks
from optax_ltd.experiments import methods
from optax_ltd.experiments.runner import Runner
from optax_ltd.experiments.training import Settings, Trainer

TASK = dataclasses.replace(tasks.temporal_order(10), test_size=40)
SETTINGS = Settings(
    TASK, seeds=2, updates=5, test_every=2, hidden_size=8, learning_rate=0.5
)

# Sums of a few thousand float32 numbers, in another order: some of their last digits.
ROUNDING = 50 * float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def finished() -> Runner:
    runner = Runner(methods.CLIP, SETTINGS)
    while not runner.run.done:
        runner.advance()
    return runner


def params_of(model) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def test_it_advances_from_test_to_test_up_to_the_budget(finished: Runner):
    run = finished.run
    assert [e.update for e in run.evaluations] == [2, 4, 5]
    assert run.update == 5
    for evaluation in run.evaluations:
        assert evaluation.loss.shape == evaluation.error.shape == (2,)
        np.testing.assert_array_equal(evaluation.nonfinite, [0, 0])
        # A whole number of the sequences is wrong, up to rounding.
        wrong = evaluation.error * TASK.test_size
        np.testing.assert_allclose(wrong, wrong.round(), rtol=ROUNDING)
    assert run.seconds > 0
    assert run.updates_per_second == 5 / run.seconds


def test_it_is_the_textbook_loop(finished: Runner):
    """Seed 1 by hand: one network, one update at a time, no vmap."""
    trainer = Trainer(methods.CLIP, SETTINGS)
    member = trainer.init(1)
    losses = []

    def loss_fn(params, batch):
        return TASK.loss(trainer.model(member._replace(params=params))(batch), batch)

    grad = jax.jit(jax.value_and_grad(loss_fn))
    params = member.params
    for update in range(5):
        batch = TASK.sample(jax.random.fold_in(member.data_key, update), 20)
        loss, grads = grad(params, batch)
        losses.append(loss)
        step = -0.5 / jnp.maximum(1, ltd.global_norm(grads))
        params = jax.tree.map(lambda p, g, step=step: p + step * g, params, grads)
    expected = trainer.model(member._replace(params=params))
    for got, want in zip(
        params_of(finished.model(1)), params_of(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=ROUNDING, atol=ROUNDING)
    shown = [e.loss[1] for e in finished.run.evaluations]
    means = [np.mean(losses[0:2]), np.mean(losses[2:4]), losses[4]]
    np.testing.assert_allclose(shown, means, rtol=ROUNDING)


def test_methods_begin_alike():
    theirs = Trainer(methods.CLIP, SETTINGS)
    for method in (methods.SGD, methods.CLIP_FLOW):
        ours = Trainer(method, SETTINGS)
        a, b = ours.init(1), theirs.init(1)
        for got, want in zip(
            params_of(ours.model(a)), params_of(theirs.model(b)), strict=True
        ):
            np.testing.assert_array_equal(got, want)
        assert (a.data_key == b.data_key).all()
        assert (a.test_key == b.test_key).all()


def test_model_before_training_is_kept(finished: Runner):
    trainer = Trainer(methods.CLIP, SETTINGS)
    untrained = params_of(trainer.model(trainer.init(0)))
    kept = params_of(finished.model(0, trained=False))
    trained = params_of(finished.model(0))
    for got, want, other in zip(kept, untrained, trained, strict=True):
        np.testing.assert_array_equal(got, want)
        assert (other != want).any()


@pytest.mark.parametrize("method", [methods.SGD, methods.CLIP], ids=lambda m: m.name)
def test_nonfinite_gradients_are_counted_for_every_method(method: methods.Method):
    task = dataclasses.replace(TASK, loss=lambda outputs, _: jnp.nan * outputs.sum())
    settings = dataclasses.replace(SETTINGS, task=task)
    runner = Runner(method, settings)
    for update in (2, 4, 5):
        np.testing.assert_array_equal(runner.advance().nonfinite, [update, update])

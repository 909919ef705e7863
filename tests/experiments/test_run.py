import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd import tasks
from optax_ltd.experiments import methods
from optax_ltd.experiments.run import Evaluation, Run
from optax_ltd.experiments.training import Settings, Trainer

TASK = dataclasses.replace(tasks.temporal_order(10), test_size=40)
SETTINGS = Settings(
    TASK, seeds=2, updates=5, test_every=2, hidden_size=8, learning_rate=0.5
)


@pytest.fixture(scope="module")
def finished() -> Run:
    run = Run(methods.CLIP, SETTINGS)
    while not run.done:
        run.advance()
    return run


def params_of(model) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def test_run_advances_from_test_to_test_up_to_the_budget(finished: Run):
    assert [e.update for e in finished.evaluations] == [2, 4, 5]
    assert finished.update == 5
    for evaluation in finished.evaluations:
        assert evaluation.loss.shape == evaluation.error.shape == (2,)
        np.testing.assert_array_equal(evaluation.nonfinite, [0, 0])
        np.testing.assert_allclose(evaluation.error * 40 % 1, 0, atol=1e-5)
    assert finished.seconds > 0
    assert finished.updates_per_second == 5 / finished.seconds


def test_run_is_the_textbook_loop(finished: Run):
    """Seed 1 by hand: one network, one update at a time, no vmap."""
    trainer = Trainer(methods.CLIP, SETTINGS)
    member = trainer.init(1)
    losses = []

    def loss_fn(params, batch):
        inputs, targets = batch
        return TASK.loss(trainer.model(member._replace(params=params))(inputs), targets)

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
        np.testing.assert_allclose(got, want, atol=1e-5)
    shown = [e.loss[1] for e in finished.evaluations]
    means = [np.mean(losses[0:2]), np.mean(losses[2:4]), losses[4]]
    np.testing.assert_allclose(shown, means, rtol=1e-5)


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


def test_model_before_training_is_kept(finished: Run):
    trainer = Trainer(methods.CLIP, SETTINGS)
    untrained = params_of(trainer.model(trainer.init(0)))
    kept = params_of(finished.model(0, trained=False))
    trained = params_of(finished.model(0))
    for got, want, other in zip(kept, untrained, trained, strict=True):
        np.testing.assert_array_equal(got, want)
        assert (other != want).any()


def evaluation(update: int, *error: float) -> Evaluation:
    zeros = np.zeros(len(error))
    return Evaluation(update, zeros, np.array(error), zeros.astype(int))


def test_solved_is_the_first_test_below_the_threshold(finished: Run):
    run = object.__new__(Run)
    run.settings = dataclasses.replace(SETTINGS, updates=100)
    run.evaluations = []
    assert (run.update, run.solved_at, run.done) == (0, [None, None], False)
    run.evaluations = [evaluation(10, 0.5, 0.01), evaluation(20, 0.009, 0.3)]
    assert (run.update, run.solved_at, run.done) == (20, [20, None], False)
    run.evaluations += [evaluation(30, 0.2, 0.0)]
    assert (run.solved_at, run.done) == ([20, 30], True)
    run.evaluations = [evaluation(100, 0.5, 0.5)]
    assert (run.solved_at, run.done) == ([None, None], True)


def test_nonfinite_gradients_are_counted_for_every_method():
    for method in (methods.SGD, methods.CLIP):
        run = object.__new__(Run)
        run._trainer = Trainer(method, SETTINGS)
        member = run._trainer.init(0)
        bad = member._replace(
            params=jax.tree.map(lambda leaf: leaf * jnp.nan, member.params)
        )
        run._members, _ = run._trainer.update(bad, jnp.int32(0))
        assert run._nonfinite() == 1

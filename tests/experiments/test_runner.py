"""A runner against the loop that it stands for."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optax_ltd as ltd
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.flossing import make_flossing
from optax_ltd.experiments.parts.setup import Setup, make_setup
from optax_ltd.experiments.training import runner as runner_module
from optax_ltd.experiments.training import trainer as module
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Programs, Runner
from optax_ltd.experiments.training.trainer import Member, Trainer
from optax_ltd.tasks import Batch
from tests.slow import slow_but

CONFIG = Config(
    method="clip-norm",
    length=10,
    seeds=2,
    updates=5,
    test_every=2,
    test_size=40,
    hidden_size=8,
    learning_rate=0.5,
)
SETUP = make_setup(CONFIG)
TASK = SETUP.task

# Sums of a few thousand float32 numbers, in another order: some of their last digits.
ROUNDING = 50 * float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def finished() -> Runner:
    runner = Runner(SETUP)
    runner.train()
    return runner


def trainer_of(config: Config) -> Trainer:
    return Trainer(make_setup(config), config.batch_size, mesh=None)


def params_of(model) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]


def leaves_of(members: Member) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(members.params)]


def test_it_advances_from_test_to_test_up_to_the_budget(finished: Runner):
    run = finished.run
    assert [e.update for e in run.evaluations] == [2, 4, 5]
    assert run.update == 5
    for evaluation in run.evaluations:
        for values in evaluation.arrays.values():
            assert values.shape == (2,)
        np.testing.assert_array_equal(evaluation.nonfinite, [0, 0])
        # A whole number of the sequences is wrong, up to rounding.
        wrong = evaluation.error * TASK.test_size
        np.testing.assert_allclose(wrong, wrong.round(), rtol=ROUNDING)
    assert run.seconds > 0
    assert run.updates_per_second == 5 / run.seconds


def test_it_is_the_textbook_loop(finished: Runner):
    """Seed 1 by hand: one network, one update at a time, no vmap."""
    trainer = trainer_of(CONFIG)
    member = trainer.init(1)
    key = jax.random.wrap_key_data(member.data_key)

    def loss_fn(params, batch):
        return TASK.loss(trainer.network(member._replace(params=params))(batch), batch)

    @jax.jit
    def make_update(params, update):
        batch = TASK.sample(jax.random.fold_in(key, update), 20)
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        step = -0.5 / jnp.maximum(1, ltd.global_norm(grads))
        return jax.tree.map(lambda p, g: p + step * g, params, grads), loss

    params, losses = member.params, []
    for update in range(5):
        params, loss = make_update(params, update)
        losses.append(loss)
    expected = trainer.network(member._replace(params=params))
    for got, want in zip(
        params_of(finished.network(1)), params_of(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=ROUNDING, atol=ROUNDING)
    shown = [e.train_loss[1] for e in finished.run.evaluations]
    means = [np.mean(losses[0:2]), np.mean(losses[2:4]), losses[4]]
    np.testing.assert_allclose(shown, means, rtol=ROUNDING)


def test_methods_begin_alike():
    theirs = trainer_of(CONFIG)
    for method in ("none", "clip-norm+flow"):
        ours = trainer_of(dataclasses.replace(CONFIG, method=method))
        a, b = ours.init(1), theirs.init(1)
        for got, want in zip(
            params_of(ours.network(a)), params_of(theirs.network(b)), strict=True
        ):
            np.testing.assert_array_equal(got, want)
        assert (a.data_key == b.data_key).all()
        assert (a.test_key == b.test_key).all()


def test_model_before_training_is_kept(finished: Runner):
    trainer = trainer_of(CONFIG)
    untrained = params_of(trainer.network(trainer.init(0)))
    kept = params_of(finished.network(0, trained=False))
    trained = params_of(finished.network(0))
    for got, want, other in zip(kept, untrained, trained, strict=True):
        np.testing.assert_array_equal(got, want)
        assert (other != want).any()


def test_a_network_is_kept_as_it_first_solved_the_task(finished: Runner):
    """Seed 1 solves it after 2 updates, seed 0 after 4; both lose it again."""
    runner = Runner(SETUP)
    wrong = iter([[20, 0], [0, 20], [20, 20]])
    train, test = finished._stage_programs()  # which is done already
    runner._programs = Programs(
        train, lambda *_: (np.zeros(2), np.array(next(wrong)), {})
    )
    made = []
    for _ in range(3):
        runner.advance()
        made.append(leaves_of(runner.members))
    for seed, first in ((0, 1), (1, 0)):
        got = params_of(runner.network(seed))
        for kept, solved, last in zip(got, made[first], made[-1], strict=True):
            np.testing.assert_array_equal(kept, solved[seed])
            assert (kept != last[seed]).any()
    kept, last = (
        test(members, jnp.int32(2**31 - 1)) for members in (runner.kept, runner.members)
    )
    loss, error = runner.test(TASK)
    np.testing.assert_array_equal(loss, kept[0])
    np.testing.assert_array_equal(error, np.asarray(kept[1]) / TASK.test_size)
    assert (loss != last[0]).any()


def idle_runner(setup: Setup, wrong: int) -> Runner:
    """A runner that changes nothing; its tests find so many sequences wrong."""
    runner = Runner(setup)
    runner._programs = Programs(
        lambda members, *_: (members, np.zeros(2)),
        lambda *_: (np.zeros(2), np.full(2, wrong), {}),
    )
    return runner


def test_training_stops_and_goes_on_where_it_is_told():
    runner = idle_runner(SETUP, 0)
    runner.train()
    assert [e.update for e in runner.run.evaluations] == [2]  # all have solved
    seen = []

    def interrupt() -> None:
        seen.append(runner.run.update)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.train(until=7, after_test=interrupt)
    runner.train(until=7, after_test=lambda: seen.append(runner.run.update))
    assert seen == [4, 6, 7]
    runner.train(until=7, after_test=pytest.fail)


@pytest.mark.parametrize(
    ("wrong", "solved_at"), slow_but([(1, None)], [(1, None), (0, 2)])
)
def test_the_threshold_itself_is_not_below_it_nor_in_a_record(
    wrong: int, solved_at: int | None
):
    """Of 100 sequences one may not be wrong, for .01 is not below .01."""
    config = dataclasses.replace(CONFIG, test_size=100)
    runner = idle_runner(make_setup(config), wrong)
    runner.advance()
    kept = Run.from_dict(json.loads(json.dumps(runner.run.to_dict())))
    for run in (runner.run, kept):
        assert run.solved_at == [solved_at, solved_at]


def test_every_test_and_every_update_draws_sequences_of_its_own(
    finished: Runner, monkeypatch: pytest.MonkeyPatch
):
    """The first input of each batch, of two updates, two tests and a late test."""
    seen = []
    config = dataclasses.replace(CONFIG, method="clip-random")
    setup = make_setup(config)

    def sample(key: jax.Array, batch_size: int) -> Batch:
        raw = jax.random.key_data(key)
        jax.debug.callback(lambda words: seen.append(tuple(words.tolist())), raw)
        return setup.task.sample(key, batch_size)

    watched = dataclasses.replace(setup.task, sample=sample)
    trainer = Trainer(dataclasses.replace(setup, task=watched), 4, mesh=None)
    member = trainer.init(0)
    update = jax.jit(trainer.update)
    test = jax.jit(lambda member, number: trainer.test(member, number, watched))
    for number in (0, 1, 2):
        update(member, jnp.int32(number))
        test(member, jnp.int32(number))
    one = jax.tree.map(lambda leaf: leaf[None], member)
    for name, value in (("_trainer", trainer), ("members", one), ("kept", one)):
        monkeypatch.setattr(finished, name, value)
    finished.test(watched)
    jax.effects_barrier()
    assert len(seen) == len(set(seen)) == 3 * 2 + 1
    assert tuple(key_of(member).tolist()) not in seen


def test_the_weight_of_the_flow_follows_its_schedule():
    """With a weight that has fallen to nothing, as without Ω."""
    config = dataclasses.replace(CONFIG, method="flow", flow_decay=1.0)
    trainers = [
        trainer_of(dataclasses.replace(config, **changes))
        for changes in ({}, {"flow_decay": 0.0}, {"flow_weight": 0.0})
    ]

    @jax.jit
    def update_by_each(member: Member, at: jax.Array) -> list[Member]:
        return [trainer.update(member, at)[0] for trainer in trainers]

    late, first = (
        [*map(leaves_of, update_by_each(trainers[0].init(0), jnp.int32(at)))]
        for at in (10**9, 0)
    )
    for decayed, none in zip(late[0], late[2], strict=True):
        np.testing.assert_allclose(decayed, none, rtol=1e-6)
    for decayed, constant in zip(first[0], first[1], strict=True):
        np.testing.assert_array_equal(decayed, constant)
    assert any((a != b).any() for a, b in zip(first[0], first[2], strict=True))


FLOSSED = dataclasses.replace(
    CONFIG,
    method="flossing",
    length=60,
    flossing_share=0.5,
    flossing_updates=2,
    flossing_every=2,
    flossing_phases=2,
)


@pytest.mark.slow
def test_flossing_by_hand():
    """Phases of two updates, before the updates 0 and 2 of training."""
    ours = trainer_of(FLOSSED)
    theirs = trainer_of(dataclasses.replace(FLOSSED, method="none"))
    task, tx = make_setup(FLOSSED).task, optax.adam(1e-3)
    begun = ours.init(1)
    graphdef, _ = nnx.split(ours.network(begun).rnn.cell)

    def step(cell, h, x):
        return nnx.merge(graphdef, cell)(h, x)

    def penalty(params, key):
        x = jnp.swapaxes(task.sample(key, 1).inputs, 0, 1)[:55]
        start = jnp.zeros((1, 8))
        cell = nnx.state(ours.network(begun._replace(params=params)).rnn.cell)
        return ltd.flossing_penalty(step, cell, start, x, 4, warmup=16)

    @jax.jit
    def update_by_each(member, update):
        return ours.update(member, update), theirs.update(member, update)

    @jax.jit
    def floss(params, state, key):
        step, state = tx.update(jax.grad(penalty)(params, key), state, params)
        return optax.apply_updates(params, step), state

    member, params, state = begun, begun.params, tx.init(begun.params)
    key = jax.random.wrap_key_data(begun.data_key)
    for update in range(4):
        if update in (0, 2):
            phase = jax.random.fold_in(jax.random.fold_in(key, 2**31 - 1), update)
            for i in range(2):
                params, state = floss(params, state, jax.random.fold_in(phase, i))
        by_hand = member._replace(params=params)
        (member, loss), _ = update_by_each(member, update)
        _, (by_hand, expected) = update_by_each(by_hand, update)
        params = by_hand.params
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
        for got, want in zip(leaves_of(member), leaves_of(by_hand), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


def test_a_gradient_of_flossing_that_is_not_finite_is_no_update():
    flossing = make_flossing(FLOSSED)
    assert flossing is not None
    params = jnp.ones(3)
    state = flossing.optimizer.init(params)
    step, after = flossing.optimizer.update(params * jnp.nan, state, params)
    np.testing.assert_array_equal(step, 0)
    np.testing.assert_array_equal(optax.tree.get(after, "count"), 0)


@pytest.mark.parametrize(
    "method", slow_but(["clip-value+clip-norm"], ["none", "clip-value+clip-norm"])
)
def test_a_nonfinite_gradient_counts_once_without_guard_or_with_two(method: str):
    config = dataclasses.replace(CONFIG, method=method)
    setup = make_setup(config)
    task = dataclasses.replace(
        setup.task, loss=lambda outputs, _: jnp.nan * outputs.sum()
    )
    runner = Runner(dataclasses.replace(setup, task=task))
    untested = lambda *_: (np.zeros(2), np.full(2, 40), {})
    runner._programs = runner._stage_programs()._replace(test=untested)
    for update in (2, 4, 5):
        np.testing.assert_array_equal(runner.advance().nonfinite, [update, update])


def key_of(member: Member) -> np.ndarray:
    guard: Any = member.opt_state
    return np.asarray(guard[0].key)


def test_each_seed_has_random_steps_of_its_own():
    config = dataclasses.replace(CONFIG, method="clip-random", hidden_size=20)
    trainer = trainer_of(config)
    keys = [key_of(trainer.init(seed)) for seed in (0, 1)]
    assert (keys[0] != keys[1]).any()
    alone = trainer_of(dataclasses.replace(config, first_seed=1))
    np.testing.assert_array_equal(key_of(alone.init(1)), keys[1])


def test_every_sequence_of_a_test_counts_once(monkeypatch: pytest.MonkeyPatch):
    """Of 7 sequences in batches of 3, the last batch holds one."""
    monkeypatch.setattr(module, "_TEST_BATCH", 3)
    setup = make_setup(CONFIG)

    # Wrong in the first place of each batch: of 9 places 3, of the first 7 also 3.
    def is_wrong(_: jax.Array, batch: Batch) -> jax.Array:
        return jnp.arange(len(batch.lengths)) == 0

    task = dataclasses.replace(
        setup.test_task,
        test_size=7,
        is_wrong=is_wrong,
        measures={"three": lambda *given: 3.0 * is_wrong(*given)},
    )
    trainer = trainer_of(CONFIG)
    _, wrong, measures = trainer.test(trainer.init(0), jnp.int32(0), task)
    assert int(wrong) == 3
    np.testing.assert_allclose(measures["three"], 9 / 7, rtol=ROUNDING)


def test_tests_of_many_seeds_are_made_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """Each seed meets the sequences that it meets alone."""
    runner = Runner(make_setup(dataclasses.replace(CONFIG, seeds=3)))
    loss, wrong = runner.test(TASK)
    monkeypatch.setattr(runner_module, "_TESTED_TOGETHER", 2)
    in_pieces = runner.test(TASK)
    np.testing.assert_allclose(in_pieces[0], loss, rtol=ROUNDING)
    np.testing.assert_array_equal(in_pieces[1], wrong)


@pytest.mark.parametrize("stopped_in", ["train", "test"])
def test_an_update_that_is_stopped_has_not_been(finished: Runner, stopped_in: str):
    """Ctrl-C comes while the program runs, whose results are not there yet."""
    runner = Runner(SETUP)
    runner._programs = finished._stage_programs()  # which is done already
    runner.advance()
    before, kept = leaves_of(runner.members), leaves_of(runner.kept)
    evaluations, seconds = list(runner.run.evaluations), runner.run.seconds

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    runner._programs = runner._programs._replace(**{stopped_in: interrupt})
    with pytest.raises(KeyboardInterrupt):
        runner.advance()
    for got, want in zip(leaves_of(runner.members), before, strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(leaves_of(runner.kept), kept, strict=True):
        np.testing.assert_array_equal(got, want)
    assert runner.run.evaluations == evaluations
    assert runner.run.seconds == seconds

"""Runs whose sequences grow."""

import dataclasses
import io
import string
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.growth import stages
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trainer import Trainer
from tests.experiments.test_run import evaluation

GROWING = Config(
    length=(10, 70),
    test_length=100,
    grow_from=20,
    grow_factor=1.8,
    grow_rate=0.5,
    learning_rate=1.0,
    seeds=2,
)


def told(config: Config) -> list[tuple[object, object, float]]:
    return [(c.length, c.test_length, c.learning_rate) for c in stages(config)]


def test_lengths_grow_to_that_of_the_run_and_the_rate_falls():
    assert told(GROWING) == [
        ((10, 20), 20, 1.0),
        ((10, 36), 36, 0.5),
        ((10, 65), 65, 0.25),
        ((10, 70), 100, 0.125),
    ]


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({"length": 40}, [20, 36, 40]),
        ({"grow_from": None}, [70]),
        ({"grow_from": 10}, [10, 18, 32, 58, 70]),
        ({"grow_factor": 1e308}, [20, 70]),
        ({"length": 13, "grow_from": 10, "grow_factor": 1.001}, [10, 11, 12, 13]),
    ],
)
def test_where_growth_begins_and_ends(fields: dict, longest: list[int]):
    made = stages(dataclasses.replace(GROWING, **fields))
    assert [config.lengths[1] for config in made] == longest
    fixed = "length" in fields
    assert all((config.lengths[0] == config.lengths[1]) == fixed for config in made[1:])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"grow_from": 9}, "from 10 to below the longest length, 70; got 9"),
        ({"grow_from": 70}, "from 10 to below the longest length, 70; got 70"),
        (
            {"length": 50, "grow_from": 5},
            "a length of the task, as are all that follow from it; got 5",
        ),
    ],
)
def test_lengths_that_cannot_grow_are_refused(fields: dict, reason: str):
    with pytest.raises(InputError, match=f"`grow_from` must be {reason}"):
        make_setup(dataclasses.replace(GROWING, **fields))


def test_a_text_too_short_for_a_later_stage_is_refused_at_once(tmp_path: Path):
    (tmp_path / "text").write_text(string.ascii_letters * 40)
    config = Config(
        task="text", text=str(tmp_path / "text"), length=1000, test_length=20
    )
    make_setup(config)
    growing = dataclasses.replace(config, grow_from=100)
    with pytest.raises(InputError, match="got 100, whence 400"):
        make_setup(growing)


def test_it_grows_when_every_seed_has_once_been_good_enough():
    run = Run(dataclasses.replace(GROWING, grow_below=0.1), 0.01)
    grown = []
    for update, stage, errors in (
        (1, 0, (0.5, 0.09)),
        (2, 0, (0.1, 0.5)),
        (3, 0, (0.09, 0.5)),  # the other was, in the first test
        (4, 1, (0.001, 0.001)),
        (5, 2, (0.001, 0.09)),
        (6, 3, (0.5, 0.005)),
        (7, 3, (0.02, 0.5)),  # there is no length to come
    ):
        run.evaluations.append(evaluation(update, *errors)._replace(stage=stage))
        grown.append(run.stage)
    assert grown == [0, 0, 1, 2, 3, 3, 3]
    assert run.longest == 70
    assert run.solved_at == [None, 6]
    assert run.num_solved == 1
    del run.evaluations[3:]
    assert run.stage == 1
    assert run.longest == 20  # as long as nothing was learned from 36
    assert run.learned_at == {20: [3, 1]}
    assert run.to_dict()["learned_at"] == run.learned_at


TINY = Config(
    length=(10, 14),
    grow_from=12,
    grow_below=1.0,  # so that every test lets them grow
    grow_rate=0.5,
    method="none",
    optimizer="nesterov",
    momentum_schedule="hold",
    hidden_size=3,
    batch_size=4,
    updates=3,
    test_every=1,
    test_size=30,
    seeds=1,
)


def test_a_stage_whose_making_was_interrupted_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
):
    setup = make_setup(dataclasses.replace(TINY, grow_factor=1.05))  # 12, 13, 14
    runner, undisturbed = Runner(setup), Runner(setup)
    runner.train(until=1)

    def interrupted(_: Config):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("optax_ltd.experiments.training.runner.make_setup", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.train(until=2)
    runner.train(until=2)
    undisturbed.train(until=2)
    np.testing.assert_array_equal(
        runner.run.evaluations[-1].test_loss, undisturbed.run.evaluations[-1].test_loss
    )


def test_growth_is_told_once_and_only_when_it_is_new():
    # 12, 13, 14; two seeds, so that every one of them has learned it.
    config = dataclasses.replace(TINY, grow_factor=1.05, seeds=2, updates=4)
    runner = Runner(make_setup(config))
    runner.train(until=1)  # grows to 13 before anyone looks, as one brought back
    output = io.StringIO()
    console = Console(file=output, width=200)
    with Bars(console, ["a", "b"]) as bars:
        bars.show(1, runner)
        runner.train(until=2)
        bars.show(1, runner)
        bars.show(1, runner)
        runner.train(until=3)  # of the longest, from which nothing grows
        bars.show(1, runner)
    told = [line for line in output.getvalue().splitlines() if "grow" in line]
    assert [line.rstrip() for line in told] == [
        "After 2 updates every seed has once been wrong in less than 100 % at 13 "
        "steps. Sequences grow to 14; at first more answers may be wrong than by "
        "chance."
    ]


def test_a_run_goes_through_its_stages():
    runner = Runner(make_setup(TINY))
    runner.train(until=3)
    assert [test.stage for test in runner.run.evaluations] == [0, 1, 1]
    # By hand: a trainer for each stage, which takes over what the last one made.
    trainers = [Trainer(make_setup(stage), 4, None) for stage in stages(TINY)]
    member = trainers[0].init(0)
    for update, stage in enumerate([0, 1, 1]):
        member, _ = jax.jit(trainers[stage].update)(member, update)
    for got, want in zip(
        jax.tree.leaves(runner.members.params),
        jax.tree.leaves(member.params),
        strict=True,
    ):
        np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)

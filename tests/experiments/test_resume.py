"""A run that goes on from a checkpoint is the run that never stopped."""

import copy
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training import checkpoints
from optax_ltd.experiments.training.checkpoints import Checkpoints
from optax_ltd.experiments.training.evaluate import evaluate
from optax_ltd.experiments.training.runner import Runner

CONFIG = Config(
    length=(10, 12),
    method="random-step+clip-norm+flow+flossing",
    flow_fraction=0.5,
    flow_decay=2.0,
    flossing_updates=2,
    flossing_every=5,  # once more after the state that is saved
    optimizer="adam",
    seeds=2,
    updates=6,
    test_every=2,
    test_size=20,
    batch_size=4,
    hidden_size=4,
)
SETUP = make_setup(CONFIG)


def once_more(untrained: Runner) -> Runner:
    """Another such runner, which compiles no program again."""
    new = copy.copy(untrained)
    new.run = copy.deepcopy(untrained.run)
    return new


def unseen(runner: Runner) -> None:
    """Observes nothing."""


def numbers(tree: object) -> list[np.ndarray]:
    """The leaves, keys as the numbers in them."""
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return [
        np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        for leaf in jax.tree.leaves(tree)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "run"
    checkpoints.write_config(folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def untrained() -> Runner:
    runner = Runner(SETUP)
    runner.compile()
    return runner


@pytest.fixture(scope="module")
def runner(folder: Path, untrained: Runner) -> Runner:
    """Saved after four of its six updates, then trained to the end."""
    runner = once_more(untrained)
    runner.train(until=4)
    with Checkpoints(folder) as saved:
        saved.save(runner)
    runner.train()
    return runner


def test_going_on_gives_the_bits_of_never_stopping(folder: Path, runner: Runner):
    members, evaluations = numbers(runner.members), runner.run.evaluations
    with Checkpoints(folder) as saved:
        saved.restore(runner)
    assert runner.run.update == 4
    rewound = zip(numbers(runner.members), members, strict=True)
    assert any((got != want).any() for got, want in rewound)
    runner.advance()
    for got, want in zip(numbers(runner.members), members, strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(runner.run.evaluations, evaluations, strict=True):
        np.testing.assert_equal(got._asdict(), want._asdict())


def test_the_networks_that_solved_come_back_too(
    tmp_path: Path, untrained: Runner, runner: Runner
):
    begun, resumed = once_more(untrained), once_more(untrained)
    begun.advance()
    begun.kept = runner.members
    with Checkpoints(tmp_path) as saved:
        saved.save(begun)
    with Checkpoints(tmp_path) as saved:
        saved.restore(resumed)
    assert resumed.run.seconds == begun.run.seconds > 0
    for got, want in zip(numbers(resumed.kept), numbers(begun.kept), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(numbers(resumed.members), numbers(begun.members), strict=True):
        np.testing.assert_array_equal(got, want)


def damage(folder: Path, update: int) -> None:
    """Cuts every file of a state short, as a full disk does."""
    for path in (folder / "states" / str(update)).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])


def test_a_damaged_state_is_set_aside_and_the_one_before_goes_on(
    tmp_path: Path, untrained: Runner, caplog: pytest.LogCaptureFixture
):
    begun, resumed = once_more(untrained), once_more(untrained)
    with Checkpoints(tmp_path) as saved:
        for update in (2, 4):
            begun.train(until=update)
            saved.save(begun)
    damage(tmp_path, 4)
    with Checkpoints(tmp_path) as saved:
        saved.restore(resumed)
        assert resumed.run.update == 2
        assert "The state of update 4 in" in caplog.text
        assert (tmp_path / "states" / "4").is_dir()
        resumed.advance()
        saved.save(resumed)  # to the place of the one that was damaged
    assert (tmp_path / "states" / "damaged-4-1").is_dir()
    for got, want in zip(numbers(resumed.members), numbers(begun.members), strict=True):
        np.testing.assert_array_equal(got, want)
    again = once_more(untrained)
    with Checkpoints(tmp_path) as saved:
        saved.restore(again)
    assert again.run.update == 4
    damage(tmp_path, 2)
    damage(tmp_path, 4)
    with (
        Checkpoints(tmp_path) as saved,
        pytest.raises(ValueError, match=r"where none of 2 can be\.$"),
    ):
        saved.restore(once_more(untrained))
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [
        "2",
        "4",
        "damaged-4-1",
    ]


def test_sampled_steps_are_drawn_anew_in_every_update(
    untrained: Runner, runner: Runner
):
    before, after = numbers(untrained.members.rest), numbers(runner.members.rest)
    counts = [a - b for a, b in zip(after, before, strict=True) if (a != b).any()]
    assert counts
    assert all((count >= CONFIG.updates).all() for count in counts)


@pytest.mark.slow
def test_evaluation_is_of_the_latest_state(folder: Path, runner: Runner):
    with Checkpoints(folder) as saved:
        saved.restore(runner)
    expected = runner.test(
        make_test_task(dataclasses.replace(CONFIG, test_size=40), 15)
    )
    (made,) = evaluate(folder, [15], 40, unseen)
    assert made.length == 15
    np.testing.assert_array_equal(made.loss, expected[0])
    np.testing.assert_array_equal(made.error, expected[1])
    # Of 40 sequences, whole ones are wrong.
    np.testing.assert_allclose(made.error * 40, (made.error * 40).round(), rtol=1e-6)


def test_a_folder_without_a_state_cannot_be_evaluated(tmp_path: Path):
    with pytest.raises(ValueError, match="must be a folder of checkpoints"):
        evaluate(tmp_path, [10], 20, unseen)
    checkpoints.write_config(tmp_path, Config(seeds=1, method="none"))
    with pytest.raises(ValueError, match="holds no state yet"):
        evaluate(tmp_path, [10], 20, unseen)

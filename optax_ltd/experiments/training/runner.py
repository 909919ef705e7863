"""What makes a run: compiled once, advanced from test to test."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_ltd as ltd
from optax_ltd.experiments.parts.growth import stages
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.parts.setup import Setup, make_setup
from optax_ltd.experiments.training.run import Evaluation, Run
from optax_ltd.experiments.training.trainer import NO_UPDATE, Member, Trainer
from optax_ltd.tasks import Task

# Seeds whose outputs are in memory at the same time, each for a piece of a test.
_TESTED_TOGETHER = 8


class Programs(NamedTuple):
    """What a stage runs, compiled for the members of a run.

    Attributes:
      train: Makes the updates of all members from one number to another.
      test: Tests all members on the stage's own task.
    """

    train: Callable[..., Any]
    test: Callable[..., Any]


class Runner:
    """Trains all seeds of a config.

    Attributes:
      run: What came out so far.
      setup: What it trains, on what, and how.
      has_tested: Whether it has made a test, and not only brought back a run.
      members: All seeds' networks in training, stacked along axis 0.
      kept: The same as each first solved the task, or as it stands if it has not.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        mesh: jax.sharding.Mesh | None = None,
        time_limit: float = math.inf,
    ):
        config = setup.config
        self.setup = setup
        self.run = Run(config, setup.test_task.solved_below, time_limit=time_limit)
        self.has_tested = False
        self._began = time.monotonic()
        self._mesh = mesh
        self._begin_stage()
        seeds = config.first_seed + jnp.arange(config.seeds)
        # One by one, as the random bits of some initial weights differ under vmap.
        members = [jax.jit(self._trainer.init)(seed) for seed in seeds]
        self.members: Member = jax.tree.map(lambda *xs: jnp.stack(xs), *members)
        if mesh is not None:
            by_seed = jax.sharding.PartitionSpec("seeds")
            spread = jax.sharding.NamedSharding(mesh, by_seed)
            self.members = jax.device_put(self.members, spread)
        self.kept = self.members

    def compile(self) -> None:
        """Compiles what `advance` runs, which else is done by its first call.

        Where sequences have grown since then, these are other programs.
        """
        self._stage_programs()

    def train(
        self,
        until: int | None = None,
        after_test: Callable[[], object] = lambda: None,
    ) -> None:
        """Trains from test to test.

        Args:
          until: updates at which to stop, whatever has been solved by then and
            however long it takes; if None, the run goes on until it is over.
          after_test: called after every test. What it raises ends the training, with
            which another call goes on.
        """
        while not (self.over if until is None else self.run.update >= until):
            self.advance(until)
            after_test()

    @property
    def spent(self) -> float:
        """The share of its budget that is spent, of updates or of time."""
        seconds, limit = time.monotonic() - self._began, self.run.time_limit
        of_time = seconds / limit if seconds < limit else 1.0
        return max(self.run.update / self.run.config.updates, of_time)

    @property
    def over(self) -> bool:
        """Whether all seeds have solved the task, or a budget is spent.

        One test is made however short the time.
        """
        return self.run.done or (self.has_tested and self.spent >= 1)

    def advance(self, until: int | None = None) -> Evaluation:
        """Trains up to the next test, makes it and returns what came out.

        Args:
          until: updates at which the test comes at the latest; if None, those of the
            config.
        """
        train, test = self._stage_programs()
        run = self.run
        start = run.update
        last = run.config.updates if until is None else until
        stop = min(start + run.config.test_every, last)
        began = time.perf_counter()
        members, train_loss = train(self.members, jnp.int32(start), jnp.int32(stop))
        train_loss = np.asarray(train_loss)
        seconds = time.perf_counter() - began
        loss, wrong, measures = test(members, jnp.int32(stop))
        evaluation = Evaluation(
            stop,
            train_loss,
            np.asarray(loss),
            np.asarray(wrong) / self._stage_setup.test_task.test_size,
            _nonfinite_counts(members),
            jax.tree.map(np.asarray, measures),
            self._stage,
        )
        # A seed that an earlier test found to have solved the task is kept as it was
        # then; any other as it is now, be it that this test is the first to find it.
        solved_before = np.array([at is not None for at in run.solved_at])
        kept = _choose(solved_before, self.kept, members)
        # At once, so that a Ctrl-C while all this is computed finds what was before.
        self.members, self.kept, self.has_tested = members, kept, True
        run.evaluations.append(evaluation)
        run.seconds += seconds
        return evaluation

    def test(self, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """Loss and share of wrong answers [seeds] of the networks that were kept.

        Args:
          task: one with the inputs and outputs of that trained on, whose sequences
            are drawn afresh.
        """
        test = self._compiled_test(task)
        loss, wrong, _ = test(self.kept, jnp.int32(NO_UPDATE))
        return np.asarray(loss), np.asarray(wrong) / task.test_size

    @property
    def opt_state(self) -> optax.OptState:
        """The optimiser's state of every seed, stacked along axis 0."""
        return self.members.opt_state

    def network(self, index: int, *, trained: bool = True) -> Network:
        """The network of a seed that was kept, or as it was before training.

        Args:
          index: of the seed, counted from the first.
          trained: the one that was kept.
        """
        if trained:
            member = jax.tree.map(lambda leaf: leaf[index], self.kept)
        else:
            member = self._trainer.init(self.run.config.first_seed + index)
        return self._trainer.result(member)

    def _begin_stage(self) -> None:
        """Makes the trainer of a stage, whose network and optimiser have one form."""
        stage = self.run.stage
        config = stages(self.run.config)[stage]
        is_whole = config == self.run.config
        self._stage_setup = self.setup if is_whole else make_setup(config)
        self._trainer = Trainer(self._stage_setup, config.batch_size, self._mesh)
        self._programs: Programs | None = None
        self._stage = stage  # last, so that what was interrupted is begun again

    def _stage_programs(self) -> Programs:
        """The programs of the stage that the run has come to."""
        if self._stage != self.run.stage:
            self._begin_stage()
        if self._programs is None:
            zero = jnp.int32(0)
            train = jax.jit(self._trainer.train)
            self._programs = Programs(
                train.lower(self.members, zero, zero).compile(),
                self._compiled_test(self._stage_setup.test_task),
            )
        return self._programs

    def _compiled_test(self, task: Task) -> Any:
        in_pieces = self._mesh is None and self.run.config.seeds > _TESTED_TOGETHER

        def test(members: Member, update: jax.Array) -> Any:
            of = lambda member: self._trainer.test(member, update, task)
            if in_pieces:
                return jax.lax.map(of, members, batch_size=_TESTED_TOGETHER)
            return jax.vmap(of)(members)

        return jax.jit(test).lower(self.members, jnp.int32(0)).compile()


def _choose(choice: np.ndarray, chosen: Member, others: Member) -> Member:
    """Of each seed the chosen member where the choice [seeds] says so, or the other."""

    def pick(leaf: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(choice.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, other)

    return jax.tree.map(pick, chosen, others)


def _nonfinite_counts(members: Member) -> np.ndarray:
    """Gradients of each seed with an Inf or a NaN so far, int [seeds]."""
    counts = ltd.metrics(members.opt_state)
    seen = [v for name, v in counts.items() if name.endswith("/nonfinite_count")]
    # The first guard meets all of them, the next ones what it lets pass.
    return np.max([np.zeros(len(members.data_key), int), *seen], axis=0)

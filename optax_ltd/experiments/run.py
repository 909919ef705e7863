"""A run: one method trained from test to test, and what came out."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd
from optax_ltd.experiments.methods import Method
from optax_ltd.experiments.model import TanhNet
from optax_ltd.experiments.training import Settings, Trainer


class Evaluation(NamedTuple):
    """How all seeds stood after some updates.

    Attributes:
      update: Updates made so far.
      loss: Mean training loss since the evaluation before, float [seeds].
      error: Share of fresh sequences answered wrongly, float [seeds].
      nonfinite: Gradients with an Inf or a NaN so far, int [seeds].
    """

    update: int
    loss: np.ndarray
    error: np.ndarray
    nonfinite: np.ndarray


class Run:
    """One method's training of all seeds. Making one compiles its program.

    Attributes:
      method: The method.
      settings: What it has in common with the other methods.
      evaluations: What came out so far, an evaluation at a time.
      seconds: Time spent on updates, without compilation and tests.
    """

    def __init__(self, method: Method, settings: Settings):
        self.method = method
        self.settings = settings
        self.evaluations: list[Evaluation] = []
        self.seconds = 0.0
        self._trainer = Trainer(method, settings)
        members = [self._trainer.init(seed) for seed in range(settings.seeds)]
        self._members = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
        self._untrained = jax.tree.map(jnp.copy, self._members)
        zero = jnp.int32(0)
        train = jax.jit(self._trainer.train, donate_argnums=0)
        self._train = train.lower(self._members, zero, zero).compile()
        error = jax.jit(jax.vmap(self._trainer.error, in_axes=(0, None)))
        self._error = error.lower(self._members, zero).compile()

    def advance(self) -> Evaluation:
        """Trains up to the next test, makes it and returns what came out."""
        start = self.update
        stop = min(start + self.settings.test_every, self.settings.updates)
        began = time.perf_counter()
        self._members, loss = self._train(
            self._members, jnp.int32(start), jnp.int32(stop)
        )
        loss = np.asarray(loss)
        self.seconds += time.perf_counter() - began
        error = np.asarray(self._error(self._members, jnp.int32(stop)))
        evaluation = Evaluation(stop, loss, error, self._nonfinite())
        self.evaluations.append(evaluation)
        return evaluation

    def _nonfinite(self) -> np.ndarray:
        counts = ltd.metrics(self._members.opt_state)
        seen = [v for name, v in counts.items() if name.endswith("/nonfinite_count")]
        return np.sum(seen, axis=0)

    @property
    def update(self) -> int:
        """Updates made so far."""
        return self.evaluations[-1].update if self.evaluations else 0

    @property
    def updates_per_second(self) -> float:
        """Updates per second of training, each of all seeds together."""
        return self.update / self.seconds if self.seconds else 0.0

    @property
    def solved_at(self) -> list[int | None]:
        """Per seed, updates made when a test first found the task solved."""
        threshold = self.settings.task.solved_below
        return [
            next((e.update for e in self.evaluations if e.error[i] < threshold), None)
            for i in range(self.settings.seeds)
        ]

    @property
    def done(self) -> bool:
        """Whether every seed has solved the task, or the budget is spent."""
        is_spent = self.update >= self.settings.updates
        return is_spent or all(update is not None for update in self.solved_at)

    def model(self, seed: int, *, trained: bool = True) -> TanhNet:
        """Returns the network of a seed as it stands, or as it was before training."""
        members = self._members if trained else self._untrained
        return self._trainer.model(jax.tree.map(lambda leaf: leaf[seed], members))

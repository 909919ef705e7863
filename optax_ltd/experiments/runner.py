"""The machine that makes a run: compiled once, advanced from test to test."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_ltd as ltd
from optax_ltd.experiments.methods import Method
from optax_ltd.experiments.model import TanhNet
from optax_ltd.experiments.run import Evaluation, Run
from optax_ltd.experiments.training import Member, Settings, Trainer


class Runner:
    """Trains all seeds with one method. Making one compiles its program.

    Attributes:
      run: What came out so far.
    """

    def __init__(self, method: Method, settings: Settings):
        self.run = Run(method, settings)
        self._trainer = Trainer(method, settings)
        members = [self._trainer.init(seed) for seed in range(settings.seeds)]
        self._members: Member = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *members
        )
        zero = jnp.int32(0)
        train = jax.jit(self._trainer.train, donate_argnums=0)
        self._train = train.lower(self._members, zero, zero).compile()
        error = jax.jit(jax.vmap(self._trainer.error, in_axes=(0, None)))
        self._error = error.lower(self._members, zero).compile()

    def advance(self) -> Evaluation:
        """Trains up to the next test, makes it and returns what came out."""
        run = self.run
        start = run.update
        stop = min(start + run.settings.test_every, run.settings.updates)
        began = time.perf_counter()
        self._members, loss = self._train(
            self._members, jnp.int32(start), jnp.int32(stop)
        )
        loss = np.asarray(loss)
        run.seconds += time.perf_counter() - began
        error = np.asarray(self._error(self._members, jnp.int32(stop)))
        evaluation = Evaluation(stop, loss, error, _nonfinite_counts(self._members))
        run.evaluations.append(evaluation)
        return evaluation

    @property
    def opt_state(self) -> optax.OptState:
        """The optimiser's state of every seed, stacked along axis 0."""
        return self._members.opt_state

    def model(self, seed: int, *, trained: bool = True) -> TanhNet:
        """Returns the network of a seed as it stands, or as it was before training."""
        if trained:
            member = jax.tree.map(lambda leaf: leaf[seed], self._members)
        else:
            member = self._trainer.init(seed)
        return self._trainer.model(member)


def _nonfinite_counts(members: Member) -> np.ndarray:
    """Gradients of each seed with an Inf or a NaN so far, int [seeds]."""
    counts = ltd.metrics(members.opt_state)
    seen = [v for name, v in counts.items() if name.endswith("/nonfinite_count")]
    return np.sum([np.zeros(members.data_key.shape, int), *seen], axis=0)

"""Running averages of the weights, which are tested and kept in place of them."""

import dataclasses

import jax
import numpy as np
from flax import nnx

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.experiments.training.trainer import Trainer

CONFIG = Config(
    method="clip-norm",
    length=10,
    test_size=40,
    hidden_size=8,
    learning_rate=0.5,
)


def test_averages_of_the_weights_are_what_is_tested_and_kept():
    averaging = 0.6  # a plain mean of two, then a running average
    config = dataclasses.replace(
        CONFIG, averaging=averaging, seeds=1, updates=4, test_every=4
    )
    runner = Runner(make_setup(config))
    plain = Runner(make_setup(dataclasses.replace(config, averaging=0.0)))
    runner.train()
    # By hand, from the weights after each update.
    trainer = Trainer(make_setup(config), config.batch_size, mesh=None)
    member, made = trainer.init(0), []
    for update in range(4):
        member, _ = jax.jit(trainer.update)(member, update)
        made.append(jax.tree.leaves(member.params))
    averages = made[0]
    for update, params in enumerate(made[1:], 1):
        share = max(1 - averaging, 1 / (update + 1))
        averages = [
            (1 - share) * old + share * new
            for old, new in zip(averages, params, strict=True)
        ]
    for got, want in zip(
        jax.tree.leaves(nnx.state(runner.network(0), nnx.Param)), averages, strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    # The training itself is that without them; what is tested is not.
    plain.train()
    for got, want in zip(
        jax.tree.leaves(runner.members.params),
        jax.tree.leaves(plain.members.params),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    losses = [run.evaluations[-1].test_loss for run in (runner.run, plain.run)]
    assert not np.allclose(*losses, rtol=1e-3)
    batch = make_setup(config).task.sample(jax.random.key(5), 7)
    np.testing.assert_allclose(
        runner.network(0)(batch), trainer.result(member)(batch), rtol=1e-4, atol=1e-5
    )

"""What Ω adds to the cost of a training step of a recurrent layer.

One step is the forward pass, a loss at the last time step and the gradient of every
parameter. Counting products of the recurrent matrix, plain training needs 3 a time step
and Ω 2 more, so on a machine where products are all that counts the ratio is 1.67.

    python -m benchmarks.recurrent_cost
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import optax_ltd as ltd
from benchmarks import records

MEASURE = "nnx.RNN"
STEP_SIZE = 1e-6


class Setting(NamedTuple):
    """Sizes of one case."""

    cell: str
    time: int
    batch: int
    hidden: int
    inputs: int


SETTINGS = (
    Setting("SimpleCell", 200, 20, 50, 6),
    Setting("SimpleCell", 1000, 32, 128, 6),
    Setting("GRUCell", 400, 32, 128, 6),
    Setting("OptimizedLSTMCell", 200, 32, 512, 512),
)

Loss = Callable[[Any, jax.Array], jax.Array]


def contestants(setting: Setting) -> dict[str, records.Contestant]:
    """Compiles one training step of each contestant.

    Args:
      setting: the sizes.

    Returns:
      Contestants by name.
    """
    shape = (setting.batch, setting.time, setting.inputs)
    x = jax.random.normal(jax.random.key(0), shape)

    def cell() -> Any:
        made = getattr(nnx, setting.cell)
        return made(setting.inputs, setting.hidden, rngs=nnx.Rngs(0))

    def flow(**options: Any) -> nnx.Module:
        return ltd.FlowRNN(cell(), **options)

    losses: dict[str, tuple[Loss, Any]] = {
        MEASURE: _nnx(nnx.RNN(cell())),
        "linen.RNN": _linen(setting, x),
        "FlowRNN, Ω off": _nnx(flow()),
        "FlowRNN, Ω on": _nnx(flow(flow_weight=1.0)),
        "FlowRNN, Ω on, recurrent kernels": _nnx(
            flow(flow_weight=1.0, flow_params="recurrent")
        ),
        "Ω by a vmapped vjp in the loss": _explicit(cell(), setting),
    }
    return {name: _step(loss, params, x) for name, (loss, params) in losses.items()}


def _step(loss: Loss, params: Any, x: jax.Array) -> records.Contestant:
    def step(params: Any, x: jax.Array) -> Any:
        gradient = jax.grad(loss)(params, x)
        return jax.tree.map(lambda p, g: p - STEP_SIZE * g, params, gradient)

    return records.compiled(step, params, x, donate=False)


def _last(outputs: jax.Array) -> jax.Array:
    return jnp.mean(jnp.sum(outputs[:, -1] ** 2, axis=-1))


def _nnx(model: nnx.Module) -> tuple[Loss, Any]:
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        layer: Any = nnx.merge(graphdef, params, rest, copy=True)
        return _last(layer(x))

    return loss, params


def _linen(setting: Setting, x: jax.Array) -> tuple[Loss, Any]:
    model = nn.RNN(getattr(nn, setting.cell)(setting.hidden))

    def loss(params: Any, x: jax.Array) -> jax.Array:
        outputs: Any = model.apply(params, x)
        return _last(outputs)

    return loss, model.init(jax.random.key(0), x)


def _explicit(cell: Any, setting: Setting) -> tuple[Loss, Any]:
    """Ω written into the loss: δ by one gradient, gains by a vmapped vjp."""
    graphdef, params = nnx.split(cell)
    start = cell.initialize_carry((setting.batch, setting.inputs), nnx.Rngs(0))

    def cell_fn(params: Any, carry: Any, x: jax.Array) -> Any:
        return nnx.merge(graphdef, params)(carry, x)

    def unrolled(params: Any, x: jax.Array, added: Any) -> tuple[jax.Array, Any]:
        def body(carry: Any, at: Any) -> Any:
            x, added = at
            new, _ = cell_fn(params, carry, x)
            new = jax.tree.map(jnp.add, new, added)
            return new, carry

        final, carries = jax.lax.scan(body, start, (x, added))
        return _last(jax.tree.leaves(final)[-1][:, None]), carries

    def loss(params: Any, x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x, 1, 0)
        zeros = jax.tree.map(
            lambda c: jnp.zeros((setting.time, *c.shape), c.dtype), start
        )
        value, carries = unrolled(params, x, zeros)
        held = jax.lax.stop_gradient((params, carries))
        error = jax.grad(lambda added: unrolled(held[0], x, added)[0])(zeros)
        gains = ltd.flow_gains(cell_fn, params, held[1], x, error)
        return value + ltd.flow_penalty(gains)

    return loss, params


def run(setting: Setting, rounds: int) -> dict[str, Any]:
    """Measures one case.

    Args:
      setting: the sizes.
      rounds: timings of each contestant.

    Returns:
      The record.
    """
    entrants = contestants(setting)
    seconds = records.interleave(entrants, rounds=rounds)
    return records.record(
        "recurrent_cost", setting._asdict(), entrants, seconds, measure=MEASURE
    )


def main() -> None:
    """Runs every case, prints the ratios and writes the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for setting in SETTINGS:
        records.write_and_show(run(setting, rounds))


if __name__ == "__main__":
    main()

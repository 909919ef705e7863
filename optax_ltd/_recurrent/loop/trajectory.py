"""What the forward pass leaves behind, and the backward pass reads."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from optax_ltd._numerics.leaves import Flags, Leaves, inexact, partition
from optax_ltd._recurrent.cell.program import CellProgram


class Stream(NamedTuple):
    """What the loop reads of the parameters, and of the inputs over time.

    Attributes:
      constants: values of the parameters alone, of any shape.
      ahead: ``[T, ...]``, values of the inputs and perhaps of the parameters.
    """

    constants: Leaves
    ahead: Leaves


class Kept(NamedTuple):
    """What a forward pass keeps of each step beside the outputs.

    Attributes:
      carries: ``[T, *batch, ...]``, the carry leaves before each step, but those that
        are an output one step later.
      saved: ``[T, ...]``, the costly values that are no output.
    """

    carries: Leaves
    saved: Leaves


class Trajectory(NamedTuple):
    """What the forward pass leaves behind.

    Attributes:
      program: the cell.
      is_hidden: which carry leaves belong to the hidden state h.
      stream: what the loop read.
      carries: ``[T, *batch, ...]``, the carry leaves before each step.
      saved: ``[T, ...]``, costly values of each step.
    """

    program: CellProgram
    is_hidden: Flags
    stream: Stream
    carries: Leaves
    saved: Leaves

    @classmethod
    def of(
        cls,
        program: CellProgram,
        is_hidden: Flags,
        stream: Stream,
        start: Leaves,
        outputs: Leaves,
        kept: Kept,
    ) -> "Trajectory":
        """The trajectory that a forward pass took.

        Args:
          program: the cell.
          is_hidden: which carry leaves belong to the hidden state h.
          stream: what the loop read.
          start: the initial carry leaves.
          outputs: ``[T, ...]``, the output leaves.
          kept: what the forward pass kept beside them.
        """
        carries = _carries_before(program, start, outputs, kept.carries)
        saved = program.saved(outputs, kept.saved)
        return cls(program, is_hidden, stream, carries, saved)

    def is_side_output(self, outputs: Leaves) -> Flags:
        """Whether each output leaf has a gradient and is no hidden state."""
        aliased = self.program.output_is_carry
        return tuple(
            has_gradient and (i is None or not self.is_hidden[i])
            for has_gradient, i in zip(inexact(outputs), aliased, strict=True)
        )

    def side_outputs(self, outputs: Leaves) -> Leaves:
        """Those of the output leaves that have a gradient and are no hidden state."""
        return partition(self.is_side_output(outputs), outputs)[0]

    def moving(self, carry: Leaves, outputs: Leaves) -> tuple[Leaves, Leaves]:
        """The hidden state, and the outputs beside it."""
        return partition(self.is_hidden, carry)[0], self.side_outputs(outputs)

    def at(self, steps: jax.Array) -> "Trajectory":
        """The same at some time steps only."""
        ahead, carries, saved = jax.tree.map(
            lambda x: x[steps], (self.stream.ahead, self.carries, self.saved)
        )
        stream = self.stream._replace(ahead=ahead)
        return self._replace(stream=stream, carries=carries, saved=saved)

    def through_outputs(self, cotangents: Leaves) -> Leaves:
        """What the loss reads of each hidden leaf through the outputs, or None."""
        read = [None] * len(self.is_hidden)
        for y, i in zip(cotangents, self.program.output_is_carry, strict=True):
            if i is not None:
                read[i] = y if read[i] is None else read[i] + y
        return partition(self.is_hidden, read)[0]


def _carries_before(
    program: CellProgram, start: Leaves, outputs: Leaves, hidden: Leaves
) -> Leaves:
    """The carry before each step: an output one step earlier, or kept beside them."""
    rest = iter(hidden)
    aliased = program.output_is_carry
    return [
        _shifted(first, outputs[aliased.index(i)]) if i in aliased else next(rest)
        for i, first in enumerate(start)
    ]


def _shifted(first: jax.Array, rest: jax.Array) -> jax.Array:
    return jnp.concatenate([first[None], rest[:-1]])[: rest.shape[0]]

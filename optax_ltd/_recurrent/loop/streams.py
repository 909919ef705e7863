"""The two streams of what the loop reads: one for L + weight · Ω, and one for L."""

from typing import Any, get_args

import jax

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.trajectory import Stream
from optax_ltd._recurrent.options import NamedParams


def streams(
    program: CellProgram, params: Any, inputs: Any, flow_params: Any
) -> tuple[Stream, Stream]:
    """Two streams of equal values, live in what Ω acts on and in all else."""
    param_leaves = [*jax.tree.leaves(params), *program.closed_over]
    x = jax.tree.leaves(inputs)
    chosen = _chosen(program, params, flow_params)
    held = jax.lax.stop_gradient
    with_flow = [p if c else held(p) for p, c in zip(param_leaves, chosen, strict=True)]
    without = [held(p) if c else p for p, c in zip(param_leaves, chosen, strict=True)]
    return stream(program, with_flow, held(x)), stream(program, without, x)


def stream(program: CellProgram, params: Leaves, inputs: Leaves) -> Stream:
    """What the loop reads, from the leaves of the parameters and of the inputs."""
    return Stream(program.once(params), program.ahead(params, inputs))


def _chosen(program: CellProgram, params: Any, flow_params: Any) -> list[bool]:
    """Whether Ω acts on each parameter leaf and on each closed-over array (never)."""
    if isinstance(flow_params, str) and flow_params == "all":
        chosen = [True] * len(jax.tree.leaves(params))
    elif isinstance(flow_params, str):
        chosen = list(program.recurrent_params)
        if not any(chosen):
            raise ValueError(
                "`flow_params` must be 'all' or a tree of booleans for a cell without "
                "a matrix product or convolution with the carry; got 'recurrent'."
            )
    else:
        flags = jax.tree.leaves(flow_params)
        if not all(isinstance(flag, bool) for flag in flags):
            words = " or ".join(map(repr, get_args(NamedParams)))
            required = f"{words}, or a tree of booleans that is a prefix of `params`"
            raise refusal("flow_params", required, flow_params)
        chosen = _broadcast(flow_params, params)
    return chosen + [False] * len(program.closed_over)


def _broadcast(flow_params: Any, params: Any) -> list[bool]:
    try:
        return jax.tree.leaves(jax.tree.broadcast(flow_params, params))
    except ValueError as error:
        required = f"a prefix of `params`, {jax.tree.structure(params)}"
        raise refusal("flow_params", required, flow_params) from error

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
    """Whether Ω acts on each parameter leaf, and on each closed-over array.

    ``flow_params`` is a prefix of ``params`` with a boolean or a word for each part. A
    word holds for arrays that the cell closed over too.
    """
    words = jax.tree.leaves(flow_params)
    if not all(isinstance(w, bool) or w in get_args(NamedParams) for w in words):
        known = " or ".join(map(repr, get_args(NamedParams)))
        required = f"{known}, or a tree of booleans that is a prefix of `params`"
        raise refusal("flow_params", required, flow_params)
    meets_carry = program.recurrent_params
    if "recurrent" in words and not any(meets_carry):
        raise ValueError(
            "`flow_params` must be 'all' or a tree of booleans for a cell without "
            "a matrix product or convolution with the carry; got 'recurrent'."
        )
    around = next((word for word in get_args(NamedParams) if word in words), False)
    of_leaves = _broadcast(flow_params, params) + [around] * len(program.closed_over)
    return [
        meets if word == "recurrent" else bool(word)
        for word, meets in zip(of_leaves, meets_carry, strict=True)
    ]


def _broadcast(flow_params: Any, params: Any) -> list[bool | str]:
    try:
        return jax.tree.leaves(jax.tree.broadcast(flow_params, params))
    except ValueError as error:
        required = f"a prefix of `params`, {jax.tree.structure(params)}"
        raise refusal("flow_params", required, flow_params) from error

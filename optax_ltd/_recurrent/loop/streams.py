"""The two paths by which parameters reach the loop: with Ω, and without."""

from typing import Any

import jax

from optax_ltd._numerics.leaves import Leaves
from optax_ltd._recurrent.cell.program import CellProgram
from optax_ltd._recurrent.loop.backward_pass import Stream


def streams(
    program: CellProgram, params: Any, inputs: Any, flow_params: Any
) -> tuple[Stream, Stream]:
    """Two paths to the same values: through what Ω acts on, and through all else."""
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
    elif isinstance(flow_params, str) and flow_params == "recurrent":
        chosen = list(program.recurrent_params)
        if not any(chosen):
            raise ValueError(
                "flow_params='recurrent' needs a parameter in a matrix product or "
                "convolution with the carry, got none; name them by a tree of booleans"
            )
    else:
        named = isinstance(flow_params, str)
        flags = [flow_params] if named else jax.tree.leaves(flow_params)
        if not all(isinstance(flag, bool) for flag in flags):
            raise ValueError(
                "flow_params must be 'all', 'recurrent' or a tree of booleans that is "
                f"a prefix of params, got {flow_params!r}"
            )
        chosen = _broadcast(flow_params, params)
    return chosen + [False] * len(program.closed_over)


def _broadcast(flow_params: Any, params: Any) -> list[bool]:
    try:
        return jax.tree.leaves(jax.tree.broadcast(flow_params, params))
    except ValueError as error:
        raise ValueError(
            "flow_params must be a prefix of params, required one of "
            f"{jax.tree.structure(params)}, got {flow_params!r}"
        ) from error

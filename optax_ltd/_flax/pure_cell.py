"""An NNX cell as a pure function of its parameters, carry, state and input."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from optax_ltd._recurrent.cell_program import as_pair
from optax_ltd._recurrent.leaves import combine, partition

_NAMED = ("all", "recurrent")


@dataclasses.dataclass(frozen=True)
class PureCell:
    """A cell split into what Ω acts on, what else is constant, and what steps change.

    Attributes:
      params: ``(chosen, other, constants)``: the parameters that ``flow_params``
        selects, the other parameters, and variables that a step reads but never
        changes.
      state: variables that a step changes, such as random counters.
      flow_params: which parts of ``params`` Ω acts on, as ``unroll`` takes it.
    """

    cell: nnx.Module
    graphdef: Any
    params: tuple[Any, Any, list[Any]]
    state: list[Any]
    flow_params: Any
    _broadcast_rngs: nnx.filterlib.Filter
    _shared: Any
    _rest_tree: Any
    _changes: tuple[bool, ...]

    def __call__(
        self, params: Any, carry: Any, state: list[Any], x: Any
    ) -> tuple[Any, list[Any], Any]:
        """One step: ``(params, carry, state, x) -> (carry, state, y)``."""
        chosen, other, constants = params
        rest = combine(self._changes, state, constants)
        carry, rest, y = _step(self, (chosen, other), carry, rest, x)
        return carry, partition(self._changes, rest)[0], y

    def write_back(self, state: list[Any]) -> None:
        """Gives the cell the state that the last step left."""
        if state:
            rest = combine(self._changes, state, self.params[2])
            nnx.update(self.cell, jax.tree.unflatten(self._rest_tree, rest))


def pure_cell(
    cell: nnx.Module,
    carry: Any,
    x: Any,
    flow_params: nnx.filterlib.Filter,
    broadcast_rngs: nnx.filterlib.Filter,
) -> PureCell:
    """Splits a cell, and finds by tracing one step which of its variables change.

    Args:
      cell: the cell.
      carry: a carry, for its shapes.
      x: one time step of the input, for its shapes.
      flow_params: ``"all"``, ``"recurrent"`` or a filter of the cell's parameters.
      broadcast_rngs: random streams that every step shares.

    Returns:
      The cell as a function.
    """
    named = isinstance(flow_params, str) and flow_params in _NAMED
    wanted = ... if named else flow_params
    graphdef, chosen, other, shared, rest = nnx.split(
        cell,
        nnx.All(nnx.Param, wanted),
        nnx.Param,
        nnx.All(nnx.RngState, broadcast_rngs),
        ...,
    )
    leaves, tree = jax.tree.flatten(rest)
    pure = PureCell(
        cell=cell,
        graphdef=graphdef,
        params=(chosen, other, []),
        state=leaves,
        flow_params=flow_params if named else (True, False, False),
        _broadcast_rngs=broadcast_rngs,
        _shared=shared,
        _rest_tree=tree,
        _changes=(True,) * len(leaves),
    )
    if not leaves:
        return pure
    changes = _changed(pure, carry, x)
    state, constants = partition(changes, leaves)
    return dataclasses.replace(
        pure, params=(chosen, other, constants), state=state, _changes=changes
    )


def check_flow_params(cell: nnx.Module, flow_params: nnx.filterlib.Filter) -> None:
    """Raises ValueError unless ``flow_params`` selects some parameter of the cell."""
    if isinstance(flow_params, str):
        if flow_params in _NAMED:
            return
        raise ValueError(
            f"flow_params must be one of {_NAMED} or an nnx filter, got {flow_params!r}"
        )
    params = nnx.state(cell, nnx.Param)
    try:
        chosen = nnx.filter_state(params, flow_params)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"flow_params must be one of {_NAMED} or an nnx filter, got {flow_params!r}"
        ) from error
    if not jax.tree.leaves(chosen):
        paths = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(params)]
        raise ValueError(
            f"flow_params must select at least one of {paths}, got {flow_params!r}"
        )


def _step(
    pure: PureCell, params: tuple[Any, Any], carry: Any, rest: list[Any], x: Any
) -> tuple[Any, list[Any], Any]:
    state = jax.tree.unflatten(pure._rest_tree, rest)
    # A copy, since every step counts on from the same shared random counts.
    cell: Any = nnx.merge(pure.graphdef, *params, pure._shared, state, copy=True)
    carry, y = as_pair(cell(carry, x))
    shared = nnx.All(nnx.RngState, pure._broadcast_rngs)
    *_, changed = nnx.split(cell, nnx.Param, shared, ...)
    return carry, jax.tree.leaves(changed), y


def _changed(pure: PureCell, carry: Any, x: Any) -> tuple[bool, ...]:
    """Whether one step gives each leaf of the state a new value."""

    def state_after(state: list[Any], carry: Any, x: Any) -> list[Any]:
        return _step(pure, pure.params[:2], carry, state, x)[1]

    jaxpr = jax.make_jaxpr(state_after)(pure.state, carry, x).jaxpr
    before = jaxpr.invars[: len(pure.state)]
    return tuple(old is not new for old, new in zip(before, jaxpr.outvars, strict=True))

"""An NNX cell as a pure function of its parameters, carry, state and input."""

import dataclasses
from typing import Any, get_args

import jax
from flax import nnx

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.leaves import combine, partition
from optax_ltd._recurrent.cell.aliases import index_of, returned
from optax_ltd._recurrent.cell.program import as_pair
from optax_ltd._recurrent.options import NamedParams


@dataclasses.dataclass(frozen=True)
class PureCell:
    """A cell split into what Ω acts on, what else is constant, and what steps change.

    Attributes:
      params: ``(chosen, other, constants)``: the parameters that ``flow_params``
        selects, the other parameters, and variables that a step reads but never
        changes. Arrays of any shape, as in ``state``: none is over time or batch.
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
        """One step: ``(params, carry, state, x) -> (carry, state, y)``.

        Carry, x and y are ``[*batch, ...]``.
        """
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
    named = isinstance(flow_params, str)
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
        flow_params=(flow_params if named else True, False, False),
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
        return  # a word, which the options have judged
    params = nnx.state(cell, nnx.Param)
    try:
        chosen = nnx.filter_state(params, flow_params)
    except (TypeError, ValueError) as error:
        words = " or ".join(map(repr, get_args(NamedParams)))
        raise refusal(
            "flow_params", f"{words}, or an nnx filter", flow_params
        ) from error
    if not jax.tree.leaves(chosen):
        required = f"a selection of at least one of {list(_by_path(params))}"
        raise refusal("flow_params", required, flow_params)


def _step(
    pure: PureCell, params: tuple[Any, Any], carry: Any, rest: list[Any], x: Any
) -> tuple[Any, list[Any], Any]:
    carry_after, y, params_after, state = _run(pure, params, carry, rest, x)
    given = {id(leaf) for leaf in jax.tree.leaves(params)}
    if any(id(leaf) not in given for leaf in jax.tree.leaves(params_after)):
        # They may have come through a function of their own, such as nnx.remat.
        _check_params(pure, params, carry, rest, x)
    before = set(_by_path(jax.tree.unflatten(pure._rest_tree, rest)))
    after = set(_by_path(state))
    if before != after:
        raise ValueError(
            "a step must keep the cell's variables; got another set of them: "
            f"added {sorted(after - before)}, removed {sorted(before - after)}"
        )
    return carry_after, jax.tree.leaves(state), y


def _run(
    pure: PureCell, params: tuple[Any, Any], carry: Any, rest: list[Any], x: Any
) -> tuple[Any, Any, Any, Any]:
    """The carry, the output, the parameters and the state after a step."""
    state = jax.tree.unflatten(pure._rest_tree, rest)
    # A copy, since every step counts on from the same shared random counts.
    cell: Any = nnx.merge(pure.graphdef, *params, pure._shared, state, copy=True)
    carry, y = as_pair(cell(carry, x))
    shared = nnx.All(nnx.RngState, pure._broadcast_rngs)
    _, params_after, _, state = nnx.split(cell, nnx.Param, shared, ...)
    return carry, y, params_after, state


def _check_params(pure: PureCell, params: Any, *args: Any) -> None:
    """Raises ValueError if a step gives a parameter a new value."""
    names: list[str] = []

    def after(params: Any, args: Any) -> list[Any]:
        by_path = _by_path(_run(pure, params, *args)[2])
        leaves = {path: jax.tree.leaves(value) for path, value in by_path.items()}
        names.extend(path for path, values in leaves.items() for _ in values)
        return [leaf for values in leaves.values() for leaf in values]

    jaxpr = jax.make_jaxpr(after)(params, args).jaxpr
    given = jaxpr.invars[: len(jax.tree.leaves(params))]
    changed = [
        name
        for name, v in zip(names, returned(jaxpr, values_only=True), strict=True)
        if index_of(v, given) is None
    ]
    if changed:
        raise ValueError(
            "a step must keep the cell's parameters, and change variables of other "
            f"types alone; got new values of {changed}."
        )


def _by_path(state: Any) -> dict[str, Any]:
    flat = nnx.to_flat_state(state)
    return {"/".join(map(str, path)): variable for path, variable in flat}


def _changed(pure: PureCell, carry: Any, x: Any) -> tuple[bool, ...]:
    """Whether one step gives each leaf of the state a new value."""

    def state_after(state: list[Any], carry: Any, x: Any) -> list[Any]:
        return _step(pure, pure.params[:2], carry, state, x)[1]

    jaxpr = jax.make_jaxpr(state_after)(pure.state, carry, x).jaxpr
    before = jaxpr.invars[: len(pure.state)]
    after = returned(jaxpr, values_only=True)
    return tuple(new is not old for old, new in zip(before, after, strict=True))

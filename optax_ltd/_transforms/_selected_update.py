"""An optimiser's update that can be none, at the cost of the update alone.

Were a state selected when all is done, ``where(skip, old, new)``, it would not be the
one that the step was made of: XLA would keep both, and copy the old one. So each leaf
of the new state is selected as soon as it is computed, and what comes after reads that.
Where nothing is skipped, it is the same; where the step is skipped, what is made of it
is thrown away.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, Var

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.layouts import in_layout_of
from optax_ltd._transforms._one_program import in_one_program


def selected_update(
    skip: jax.Array,
    update: Callable[[Any], tuple[Any, Any]],
    updates: Any,
    state: Any,
) -> tuple[Any, Any]:
    """Makes an update, or none.

    Args:
      skip: whether to make none.
      update: takes a gradient and returns updates and a new state.
      updates: the gradient. Where the step is skipped, `update` meets zeros instead:
        selected, as 0 times NaN is NaN.
      state: the state that `update` goes out from.

    Returns:
      New updates and the new state; zeros and the old state where the step is skipped.

    Raises:
      ValueError: `update` returns a state of another structure.
    """
    harmless = in_one_program(_zero_if, skip, updates)

    if isinstance(skip, jax.core.Tracer):
        updates, after = _selected_early(skip, lambda: update(harmless), state)
    else:  # Operation by operation, as Optax does, nothing is gained by it.
        updates, after = update(harmless)
        _check_structure(state, after)
    updates = in_one_program(_zero_if, skip, updates)
    return updates, in_one_program(_old_if, skip, state, after)


def _selected_early(
    skip: jax.Array, new: Callable[[], tuple[Any, Any]], state: Any
) -> tuple[Any, Any]:
    """The updates made of the selected state, and the new state before selection."""
    shape: list[Any] = []

    def arrays() -> list[Any]:
        leaves, structure = jax.tree.flatten(new())
        # A float0 is no value of a program.
        idle = [leaf if _is_float0(leaf) else None for leaf in leaves]
        shape.append((structure, idle))
        return [leaf for leaf in leaves if not _is_float0(leaf)]

    program = jax.make_jaxpr(arrays)()
    ((structure, idle),) = shape
    atoms = iter(program.jaxpr.outvars)
    outputs = [next(atoms) if leaf is None else leaf for leaf in idle]
    updates, after = structure.unflatten(outputs)
    _check_structure(state, after)
    rows = zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True)
    olds = {atom: leaf for atom, leaf in rows if isinstance(atom, Var)}
    selected, computed = _run(program, skip, olds)
    return (
        jax.tree.map(lambda atom: _read(selected, atom), updates),
        jax.tree.map(lambda atom: _read(computed, atom), after),
    )


def _run(
    program: ClosedJaxpr, skip: jax.Array, olds: Mapping[Var, Any]
) -> tuple[dict[Var, Any], dict[Var, Any]]:
    """The values of all variables, with those of `olds` selected; and without."""
    selected = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    computed = dict(selected)
    for equation in program.jaxpr.eqns:
        primitive = equation.primitive
        operands = [_read(selected, atom) for atom in equation.invars]
        with equation.ctx.manager:
            out = primitive.bind(
                *operands, **primitive.get_bind_params(equation.params)
            )
        outs = out if primitive.multiple_results else [out]
        for variable, value in zip(equation.outvars, outs, strict=True):
            computed[variable] = selected[variable] = value
            if variable in olds:
                choice = _old_if(skip, olds[variable], value)
                # Else the equations that follow would not take it.
                if jax.typeof(choice) == jax.typeof(value):
                    selected[variable] = choice
    return selected, computed


def _read(values: Mapping[Var, Any], atom: Any) -> Any:
    if isinstance(atom, Literal):
        return atom.val
    return values[atom] if isinstance(atom, Var) else atom


def _check_structure(old: Any, new: Any) -> None:
    before, after = jax.tree.structure(old), jax.tree.structure(new)
    if before != after:
        required = f"a transformation that keeps the structure of its state, {before}"
        raise refusal("inner", required, after)


def _is_float0(leaf: Any) -> bool:
    return getattr(leaf, "dtype", None) == jax.dtypes.float0


def _zero_if(skip: jax.Array, tree: Any) -> Any:
    def select(leaf: Any) -> Any:
        if _is_float0(leaf):
            return leaf  # Nothing else can be done with it.
        zero = False if jnp.issubdtype(jnp.result_type(leaf), bool) else 0
        return jnp.where(skip, zero, leaf)

    return jax.tree.map(select, tree)


def _old_if(skip: jax.Array, old: Any, new: Any) -> Any:
    def select(old: Any, new: Any) -> Any:
        return jnp.where(skip, in_layout_of(new, old), new)

    return jax.tree.map(select, old, new)

"""``jax.value_and_grad`` of a loss that calls ``unroll``, and what δ did there."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.leaves import Leaves, combine, partition
from optax_ltd._recurrent.flow.listening import answering, audit
from optax_ltd._recurrent.flow.report import layer_flows


def value_and_flow(
    loss_fn: Callable[..., Any],
    argnums: int | Sequence[int],
    args: tuple[Any, ...],
    *,
    has_aux: bool,
    allow_int: bool,
) -> Any:
    """The loss, what each call of ``unroll`` reports by its name, and the gradient.

    Args:
      loss_fn: ``(*args) -> loss``, or ``(loss, aux)`` if ``has_aux``.
      argnums: as in ``jax.value_and_grad``.
      args: trees of arrays, and of whatever else a library of modules puts into them.
      has_aux: as in ``jax.value_and_grad``.
      allow_int: as in ``jax.value_and_grad``.

    Returns:
      ``(value, reports), grads``, where ``value`` is that of ``jax.value_and_grad`` and
      ``grads`` has None for what is not differentiated.

    Raises:
      ValueError: if ``loss_fn`` calls no ``unroll``.
    """
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    leaves, tree = jax.tree.flatten([args[number] for number in numbers])
    flags = tuple(_is_differentiated(leaf, allow_int) for leaf in leaves)
    moving, fixed = partition(flags, leaves)

    def loss(moving: Leaves) -> Any:
        chosen = jax.tree.unflatten(tree, combine(flags, moving, fixed))
        given = list(args)
        for number, arg in zip(numbers, chosen, strict=True):
            given[number] = arg
        return loss_fn(*given)

    axes = audit(loss, moving)
    if not axes:
        raise ValueError(
            "`loss_fn` must call optax_ltd.unroll, or an optax_ltd.FlowRNN that one of "
            "its arguments holds, for error signals to be seen (optax_ltd.linen has "
            "this function for Linen models); got neither."
        )

    def recorded(moving: Leaves, records: Any) -> Any:
        with answering(axes, records):
            return loss(moving)

    zeros = {name: one.zeros() for name, one in axes.items()}
    differentiate = jax.value_and_grad(
        recorded, (0, 1), has_aux=has_aux, allow_int=allow_int
    )
    value, (moved, seen) = differentiate(moving, zeros)
    grads = combine(flags, moved, [None] * len(fixed))
    grads = tuple(jax.tree.unflatten(tree, grads))
    reports = {
        path: flow
        for name, one in axes.items()
        for path, flow in layer_flows(name, one.joined(seen[name])).items()
    }
    return (value, reports), grads[0] if isinstance(argnums, int) else grads


def _is_differentiated(leaf: Any, allow_int: bool) -> bool:
    arrays = (jax.Array, np.ndarray, np.generic, float, complex)
    return isinstance(leaf, arrays) and (allow_int or is_inexact(leaf))

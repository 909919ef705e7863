"""Which of a body's variables Ω acts on, by the option ``flow_params``."""

from typing import Any

import jax
from flax.core import FrozenDict, unfreeze

from optax_ltd._numerics.checks import refusal


def chosen_collections(flow_params: Any, broadcast: list[Any]) -> Any:
    """What Ω acts on, as ``unroll`` takes it, for the collections that steps share.

    Args:
      flow_params: the option.
      broadcast: of each scope the collections that steps share.
    """
    if isinstance(flow_params, str):
        return [
            {name: flow_params if name == "params" else False for name in collections}
            for collections in broadcast
        ]
    if len(broadcast) != 1 or "params" not in broadcast[0]:
        required = (
            "'all' or 'recurrent' for a cell without parameters of its own or with a "
            "module from outside"
        )
        raise refusal("flow_params", required, flow_params)
    (collections,) = broadcast
    params = unfreeze(collections["params"])
    mask = flow_params(params) if callable(flow_params) else flow_params
    flags = jax.tree.leaves(_broadcast_mask(mask, params))
    tree = jax.tree.structure(collections["params"])
    of = dict.fromkeys(collections, False)
    return [of | {"params": jax.tree.unflatten(tree, flags)}]


def _broadcast_mask(mask: Any, params: Any) -> Any:
    mask = unfreeze(mask) if isinstance(mask, FrozenDict) else mask
    paths = [
        "/".join(str(key.key) for key in path)
        for path, _ in jax.tree.leaves_with_path(params)
    ]
    try:
        flags = jax.tree.broadcast(mask, params)
        if not all(isinstance(flag, bool) for flag in jax.tree.leaves(flags)):
            raise TypeError
    except (TypeError, ValueError) as error:
        required = (
            "'all', 'recurrent', a tree of booleans that is a prefix of the cell's "
            f"parameters {paths}, or a function of them that returns one"
        )
        raise refusal("flow_params", required, mask) from error
    if not any(jax.tree.leaves(flags)):
        raise refusal("flow_params", f"a selection of at least one of {paths}", mask)
    return flags

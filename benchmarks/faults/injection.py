"""Spoils gradients, as hardware, data and exploding dynamics do."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

# What can happen to the entries [n] of a gradient, given the leaf of each, and a number
# in [0, 1) that says where.
_Spoil = Callable[[jax.Array, np.ndarray, jax.Array], jax.Array]
_HUGE = 1e30  # finite in float32, its square is not


def _one_entry(value: float) -> _Spoil:
    def spoil(entries: jax.Array, leaf_of: np.ndarray, where: jax.Array) -> jax.Array:
        chosen = _choose(leaf_of.size, where)
        return jnp.where(np.arange(leaf_of.size) == chosen, value, entries)

    return spoil


def _one_leaf(entries: jax.Array, leaf_of: np.ndarray, where: jax.Array) -> jax.Array:
    return jnp.where(leaf_of == _choose(leaf_of[-1] + 1, where), jnp.nan, entries)


def _all_entries(
    entries: jax.Array, leaf_of: np.ndarray, where: jax.Array
) -> jax.Array:
    del leaf_of, where
    return entries * _HUGE


def _choose(count: int, where: jax.Array) -> jax.Array:
    return (count * where).astype(jnp.int32)


INF, NAN, NAN_LEAF, HUGE = "Inf in an entry", "NaN in an entry", "NaN leaf", "× 1e30"
KINDS: dict[str, _Spoil] = {
    INF: _one_entry(jnp.inf),
    NAN: _one_entry(jnp.nan),
    NAN_LEAF: _one_leaf,
    HUGE: _all_entries,
}


@dataclasses.dataclass(frozen=True)
class Faults:
    """Which gradients are spoilt, and how.

    Attributes:
      rate: the probability of a fault at each update.
      burst: updates at which there surely is one.
      kinds: keys of KINDS, of which each fault draws one, all equally likely.
    """

    rate: float = 0.0
    burst: range = range(0)
    kinds: tuple[str, ...] = tuple(KINDS)


class InjectFaultsState(NamedTuple):
    """State of `inject_faults`.

    Attributes:
      key: words of the key that decides on the faults, uint32.
      step: gradients seen, int32 scalar.
      counts: faults so far by kind, int32 [kinds].
    """

    key: jax.Array
    step: jax.Array
    counts: jax.Array


def inject_faults(faults: Faults, key: jax.Array) -> optax.GradientTransformation:
    """Spoils some gradients and counts them; the others pass bit for bit.

    A fault is a function of the key, the parameters at the start and the number of the
    update: each seed's network has faults of its own, and meets the same ones however
    it is trained.

    Args:
      faults: which gradients, and how.
      key: a PRNG key.

    Returns:
      A `optax.GradientTransformation` with an `InjectFaultsState`.
    """

    def init(params: Any) -> InjectFaultsState:
        entries = ravel_pytree(params)[0].astype(jnp.float32)
        network = jax.lax.bitcast_convert_type(entries, jnp.uint32).sum(
            dtype=jnp.uint32
        )
        words = jax.random.key_data(jax.random.fold_in(key, network))
        counts = jnp.zeros(len(faults.kinds), jnp.int32)
        return InjectFaultsState(words, jnp.zeros((), jnp.int32), counts)

    def update(
        updates: Any, state: InjectFaultsState, params: Any = None
    ) -> tuple[Any, InjectFaultsState]:
        del params
        # One draw for everything: each takes long to compile.
        step_key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        chance, kind, where = jax.random.uniform(step_key, (3,))
        in_burst = (state.step >= faults.burst.start) & (state.step < faults.burst.stop)
        hit = (chance < faults.rate) | in_burst
        kind = _choose(len(faults.kinds), kind)
        sizes = [leaf.size for leaf in jax.tree.leaves(updates)]
        leaf_of = np.repeat(np.arange(len(sizes)), sizes)
        entries, unravel = ravel_pytree(updates)
        spoilt = [KINDS[k](entries, leaf_of, where) for k in faults.kinds]
        entries = jnp.where(hit, jnp.stack(spoilt)[kind], entries)
        counts = state.counts.at[kind].add(hit.astype(jnp.int32))
        return unravel(entries), InjectFaultsState(state.key, state.step + 1, counts)

    return optax.GradientTransformation(cast(Any, init), cast(Any, update))

"""Two rules by which public code for large runs skips spikes, as contestants.

Both look back on the norms of the last `window` steps and skip a step whose norm lies
more than `factor` standard deviations above their mean, once half of the window is
full; until then every step is taken. Every norm enters the window, that of a skipped
step and one that is not finite too. With a NaN or an Inf in it the threshold is NaN,
and each later step is skipped until that has left the window. Both judge the loss by
the same rule; no fault of this benchmark touches it, so it is left out.

Written from what the code does. The defaults are those of the code; the rule goes back
to the `SkipStepOptimizer` of OLMo-core.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

WINDOW, FACTOR = 128, 6.0


class SkippingState(NamedTuple):
    """State of either rule.

    Attributes:
      norms: those of the last steps, [window], the place of the oldest written next.
      total: steps so far, int32 scalar.
      inner: state of the transformation inside.
    """

    norms: jax.Array
    total: jax.Array
    inner: Any


def skip_step_on_spikes(
    inner: optax.GradientTransformation, window: int = WINDOW, factor: float = FACTOR
) -> optax.GradientTransformation:
    """The rule of MaxText: a skipped step is zero, and the inner state stays.

    From `src/maxtext/optimizers/optimizers.py` in `AI-Hypercomputer/maxtext`.

    Args:
      inner: what to leave out.
      window: norms to look back on.
      factor: how many deviations above the mean are too far.

    Returns:
      A `optax.GradientTransformation` with a `SkippingState`.
    """

    def update(
        updates: Any, state: SkippingState, params: Any = None
    ) -> tuple[Any, SkippingState]:
        norm = optax.tree.norm(updates)
        mean, deviation = _mean_and_deviation(state, unbiased=True)
        in_warmup = state.total + 1 < max(2, window // 2)
        taken = jax.lax.cond(
            in_warmup | (norm - mean <= factor * deviation),
            lambda: inner.update(updates, state.inner, params),
            lambda: (jax.tree.map(jnp.zeros_like, updates), state.inner),
        )
        return taken[0], _with_norm(state, norm, taken[1])

    return _skipping(inner, window, update)


def skipstep(
    inner: optax.GradientTransformation, window: int = WINDOW, factor: float = FACTOR
) -> optax.GradientTransformation:
    """The rule of levanter: the update is made, and then multiplied by 0 or 1.

    So a NaN in the update of a skipped step stays one. From
    `lib/levanter/src/levanter/optim/skipstep.py` in `marin-community/marin`. Arguments
    and state are those of `skip_step_on_spikes`.
    """

    def update(
        updates: Any, state: SkippingState, params: Any = None
    ) -> tuple[Any, SkippingState]:
        norm = optax.tree.norm(updates)
        mean, deviation = _mean_and_deviation(state, unbiased=False)
        usual = norm <= mean + factor * jnp.maximum(deviation, 1e-6)
        skip = (state.total >= max(2, window // 2)) & ~usual
        share = jnp.where(skip, 0.0, 1.0)
        updates, after = inner.update(updates, state.inner, params)
        updates = jax.tree.map(lambda leaf: share * leaf, updates)
        kept = jax.tree.map(lambda *pair: jnp.where(skip, *pair), state.inner, after)
        return updates, _with_norm(state, norm, kept)

    return _skipping(inner, window, update)


def _skipping(
    inner: optax.GradientTransformation, window: int, update: Any
) -> optax.GradientTransformation:
    def init(params: Any) -> SkippingState:
        return SkippingState(
            jnp.zeros(window), jnp.zeros((), jnp.int32), inner.init(params)
        )

    return optax.GradientTransformation(cast(Any, init), update)


def _mean_and_deviation(
    state: SkippingState, *, unbiased: bool
) -> tuple[jax.Array, jax.Array]:
    seen = jnp.arange(state.norms.size) < state.total
    deviation = jnp.std(state.norms, where=seen, ddof=int(unbiased))
    return jnp.mean(state.norms, where=seen), deviation


def _with_norm(state: SkippingState, norm: jax.Array, inner: Any) -> SkippingState:
    norms = state.norms.at[state.total % state.norms.size].set(norm)
    return SkippingState(norms, state.total + 1, inner)

"""Runs of gradients through `skip_steps`, and what was skipped of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd

CAUSES = ("nonfinite", "max_norm", "norm_zscore", "loss_zscore")


def skips(state: Any) -> dict[str, int]:
    """The counts by cause that are not zero."""
    found = ltd.metrics(state)
    counts = {cause: int(found[f"skip_steps/skipped_{cause}"]) for cause in CAUSES}
    assert sum(counts.values()) == found["skip_steps/skipped_count"]
    return {cause: count for cause, count in counts.items() if count}


def after_norms(tx: Any, norms: Any, **losses: Any) -> Any:
    """The updates and states of a run of norms."""

    @jax.jit
    def run(norms, losses):
        def step(state, row):
            norm, value = row
            updates, state = tx.update(norm[None], state, jnp.zeros(1), **value)
            return state, updates[0]

        return jax.lax.scan(step, tx.init(jnp.zeros(1)), (norms, losses))

    as_arrays = {k: jnp.asarray(v) for k, v in losses.items()}
    state, updates = run(jnp.asarray(norms, jnp.float32), as_arrays)
    return np.asarray(updates), state

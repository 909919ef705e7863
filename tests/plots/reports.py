"""Reports of gradients to draw."""

import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd

T, B = 12, 9
RNG = np.random.default_rng(0)


def layer_flow(
    norms: np.ndarray, gains: np.ndarray, broken: np.ndarray | bool = False
) -> ltd.LayerFlow:
    """What a layer reports of norms, gains and states ``[T, B]``, as of one call."""
    active = np.isfinite(norms) & (norms > 0) & np.isfinite(gains)
    record = ltd.FlowRecord.zeros(norms.shape)._replace(
        error_norms=jnp.asarray(norms, jnp.float32),
        gains=jnp.asarray(np.where(active, gains, 0), jnp.float32),
        active=jnp.asarray(active, jnp.float32),
        state_broken=jnp.broadcast_to(jnp.float32(broken), norms.shape),
        calls=jnp.ones(()),
    )
    return ltd.LayerFlow.from_record(record)


def of_layers(**layers: ltd.LayerFlow) -> ltd.GradientFlow:
    return ltd.GradientFlow(loss=jnp.float32(1), layers=layers)


def report(decay: float, *names: str, inactive: int = 0) -> ltd.GradientFlow:
    """A signal that shrinks by a factor a step, gone at the first few."""
    lag = np.arange(T)[::-1, None]
    norms = decay**lag * RNG.uniform(0.5, 1.5, (T, B))
    gains = decay * RNG.uniform(0.9, 1.1, (T, B))
    active = np.broadcast_to(np.arange(T)[:, None] >= inactive, (T, B))
    layer = layer_flow(np.where(active, norms, 0), gains)
    return of_layers(**dict.fromkeys(names, layer))

"""Complex carries, as in state-space cells."""

import jax
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd

T, B, H = 5, 2, 1


def _rotation(p, h, x):
    decay, angle = p
    h = jnp.exp(-jnp.exp(decay) + 1j * angle) * h + x
    return h, h


def test_a_decaying_rotation_has_its_decay_for_a_gain():
    """Ω = T (|λ| − 1)² depends on the decay alone, in whatever direction δ points."""
    decay, angle = jnp.float32(-1.0), jnp.float32(0.7)
    h = jnp.array([[0.3 - 0.2j], [0.1 + 0.5j]], jnp.complex64)
    x = jnp.cos(jnp.arange(T * B * H)).reshape(T, B, H).astype(jnp.complex64)

    def loss(p, record, weight):
        _, y = ltd.unroll(_rotation, p, h, x, flow_weight=weight, flow_record=record)
        return jnp.sum(jnp.real((2 - 1j) * y[-1])) + jnp.sum(jnp.abs(y[-1]) ** 2)

    take = jax.jit(jax.grad(loss, (0, 1)))
    zeros = ltd.FlowRecord.zeros((T, B))
    on, record = take((decay, angle), zeros, 1.0)
    off, _ = take((decay, angle), zeros, 0.0)
    gain = np.exp(-np.exp(-1.0))
    np.testing.assert_allclose(record.gains, np.full((T, B), gain), rtol=1e-5)
    np.testing.assert_allclose(record.omega, T * (gain - 1) ** 2, rtol=1e-5)
    expected = T * 2 * (gain - 1) * gain * -np.exp(-1.0)
    np.testing.assert_allclose(on[0] - off[0], expected, rtol=1e-4)
    np.testing.assert_allclose(on[1] - off[1], 0, atol=1e-5)

"""The minimum of the damped quadratic model."""

import jax
import jax.numpy as jnp

from optax_ltd._numerics.tree_norm import TreeNorm
from optax_ltd._second_order.conjugate_gradients import Solution, conjugate_gradients
from optax_ltd._second_order.gauss_newton import Linearised
from optax_ltd._second_order.options import Options
from optax_ltd._second_order.parameter_space import (
    Vector,
    all_finite,
    choose,
    dot,
    plus,
    times,
    zeros_like,
)
from optax_ltd._second_order.preconditioner import preconditioner
from optax_ltd._second_order.structural_damping import hidden_curvature


def solve(
    linear: Linearised,
    gradient: Vector,
    measured: TreeNorm,
    last: Vector,
    damping: jax.Array,
    options: Options,
    key: jax.Array,
    *,
    idle: jax.Array,
) -> Solution:
    """Minimises the damped model, B = G + λ I + λ μ G_S (Martens & Sutskever 2011).

    Args:
      linear: the model about the point.
      gradient: ∇f.
      measured: its norm.
      last: the last solution, of which conjugate gradients begin at a share.
      damping: λ.
      options: what the factory was told.
      key: of the estimate of the preconditioner.
      idle: whether to do nothing.

    Returns:
      The solution, not finite if an entry of it is not.
    """
    exponent = options.preconditioner_exponent
    scales = preconditioner(linear, gradient, damping, exponent, key)
    damp = None
    if options.is_structural:
        strength = damping * options.structural_damping
        curved = hidden_curvature(linear.hidden, options.hidden_distance, linear.axes)
        damp = lambda tangents: times(strength, curved(tangents))

    # For a gradient of norm 1/2 to 1, so that squares fit.
    power = _power_of_two_over(measured)
    scale = lambda vector: times(power, times(measured.lift, vector))
    zeros = zeros_like(gradient)
    start = scale(times(jnp.asarray(options.warm_start), last))
    fits = jnp.isfinite(dot(start, start))  # Else it was for a far larger gradient.
    solution = conjugate_gradients(
        lambda vector: plus(linear.product(vector, damp), damping, vector),
        choose(idle, zeros, [-x for x in scale(gradient)]),
        choose(idle | ~fits, zeros, start),
        scales,
        options.max_cg_iterations,
        idle=idle,
    )
    unscale = lambda vector: times(1 / power, times(1 / measured.lift, vector))
    x, kept = unscale(solution.x), unscale(solution.kept)
    return solution._replace(x=x, kept=kept, finite=solution.finite & all_finite(x))


def _power_of_two_over(measured: TreeNorm) -> jax.Array:
    """What brings the root of a norm to 1/2 or more, and below 1; 1 where none does."""
    _, exponent = jnp.frexp(measured.root)
    power = jnp.ldexp(jnp.ones_like(measured.root), -exponent)
    return jnp.where(measured.finite, power, 1)

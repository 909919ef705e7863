"""Conjugate gradients, truncated by progress, that keep iterates on their way."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from optax_ltd._numerics.shards import varying_as
from optax_ltd._second_order.parameter_space import Vector, dot, plus, zeros_like

_PROGRESS = 5e-4  # ε of Martens 2010, section 4.4
_LEAST_GAP = 10  # the smallest k there
_SPACING = 1.3  # of kept iterates, section 4.6


class Solution(NamedTuple):
    """What was found.

    Attributes:
      x: the last iterate.
      kept: iterates on the way, each leaf with them along a new first axis.
      last: where among these the last iterate is; what comes after is unused.
      iterations: how many were made.
      negative_curvature: whether a direction p had pᵀ B p <= 0.
      finite: whether all that was computed is.
    """

    x: Vector
    kept: Vector
    last: jax.Array
    iterations: jax.Array
    negative_curvature: jax.Array
    finite: jax.Array


class _Loop(NamedTuple):
    """Between two iterations; `iteration` is the number of the next one."""

    iteration: jax.Array
    x: Vector
    residual: Vector  # b - B x
    direction: Vector
    square: jax.Array  # residual · residual / M
    models: jax.Array  # φ(x_i) for each i so far
    kept: Vector
    last: jax.Array
    stop: jax.Array
    negative_curvature: jax.Array
    finite: jax.Array


def conjugate_gradients(
    product: Callable[[Vector], Vector],
    b: Vector,
    start: Vector,
    scales: Vector,
    max_iterations: int,
    *,
    idle: jax.Array,
) -> Solution:
    r"""Minimises φ(x) = ½ xᵀ B x - bᵀ x, and stops when there is little progress.

    The rule is that of Martens 2010, section 4.4: after iteration i > k, if φ(x_i) < 0
    and (φ(x_i) - φ(x_{i-k})) / φ(x_i) < k ε, with k = max(10, i / 10).

    It also stops where the residual has vanished to rounding, at a direction of
    curvature zero or below (x is then what it was before that), and at anything that
    is not finite.

    Args:
      product: multiplies with B.
      b: the right-hand side.
      start: x_0.
      scales: the diagonal M of a preconditioner, positive.
      max_iterations: how many there may be.
      idle: whether to do nothing.

    Returns:
      The solution, and what came before it.
    """
    target = dot(b, [r / m for r, m in zip(b, scales, strict=True)])
    tolerance = jnp.square(jnp.finfo(target.dtype).eps) * target
    points = kept_iterations(max_iterations)
    loop = lax.while_loop(
        lambda loop: ~loop.stop & (loop.iteration <= max_iterations),
        lambda loop: _iterated(loop, product, b, scales, tolerance, points),
        _begun(b, start, points, stop=idle | (target == 0)),
    )
    return Solution(
        x=loop.x,
        kept=loop.kept,
        last=loop.last,
        iterations=jnp.maximum(loop.iteration - 1, 0),
        negative_curvature=loop.negative_curvature,
        finite=loop.finite,
    )


def _iterated(
    loop: _Loop,
    product: Callable[[Vector], Vector],
    b: Vector,
    scales: Vector,
    tolerance: jax.Array,
    points: np.ndarray,
) -> _Loop:
    i = loop.iteration
    curved = product(loop.direction)
    curvature = dot(loop.direction, curved)
    # Iteration 0 goes from zero to x_0, so that one product serves all.
    first = i == 0
    goes = first | (curvature > 0)
    length = jnp.where(first, 1, loop.square / jnp.where(goes, curvature, 1))
    length = jnp.where(goes, length, 0).astype(tolerance.dtype)
    x = plus(loop.x, length, loop.direction)
    residual = plus(loop.residual, -length, curved)
    scaled = [r / m for r, m in zip(residual, scales, strict=True)]
    square = dot(residual, scaled)
    turn = jnp.where(first, 0, square / jnp.where(first, 1, loop.square))
    model = -(dot(x, residual) + dot(x, b)) / 2
    models = loop.models.at[i].set(model)
    finite = jnp.isfinite(curvature) & jnp.isfinite(square) & jnp.isfinite(model)
    slot = jnp.where(goes, jnp.searchsorted(points, i), loop.last).astype(jnp.int32)
    return _Loop(
        iteration=i + goes.astype(i.dtype),
        x=x,
        residual=residual,
        direction=plus(scaled, turn, loop.direction),
        square=square,
        models=models,
        kept=[many.at[slot].set(one) for many, one in zip(loop.kept, x, strict=True)],
        last=slot,
        stop=~goes | ~finite | (square <= tolerance) | little_progress(models, i),
        negative_curvature=~goes & finite,
        finite=finite,
    )


def _begun(b: Vector, start: Vector, points: np.ndarray, stop: jax.Array) -> _Loop:
    zeros, zero = zeros_like(b), jnp.zeros_like(dot(b, b))
    loop = _Loop(
        iteration=jnp.zeros((), jnp.int32),
        x=zeros,
        residual=b,
        direction=start,
        square=zero,
        models=jnp.zeros(points[-1] + 1, zero.dtype),
        # Of zeros that lie on devices as the vector does.
        kept=[jnp.broadcast_to(x, (len(points), *x.shape)) for x in zeros],
        last=jnp.zeros((), jnp.int32),
        stop=stop,
        negative_curvature=jnp.zeros((), bool),
        finite=jnp.ones((), bool),
    )
    return jax.tree.map(functools.partial(varying_as, (b, start)), loop)


def kept_iterations(max_iterations: int) -> np.ndarray:
    """The iterations at which iterates are kept: ⌈1.3^j⌉, and the last that may be."""
    number = math.ceil(math.log(max_iterations) / math.log(_SPACING))
    points = {math.ceil(_SPACING**j) for j in range(number)}
    inside = {point for point in points if point < max_iterations}
    return np.array(sorted(inside | {max_iterations}))


def little_progress(models: jax.Array, i: jax.Array) -> jax.Array:
    """Whether the last k iterations have gained less than k ε of φ."""
    k = jnp.maximum(_LEAST_GAP, i // 10)
    now, before = models[i], models[jnp.maximum(i - k, 0)]
    return (i > k) & (now < 0) & (now - before > k * _PROGRESS * now)

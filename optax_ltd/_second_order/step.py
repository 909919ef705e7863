"""From what conjugate gradients went through to a step that lowers the loss."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from optax_ltd._numerics.dtypes import widened
from optax_ltd._second_order.conjugate_gradients import Solution
from optax_ltd._second_order.gauss_newton import Linearised
from optax_ltd._second_order.levenberg_marquardt import (
    is_lost_in_rounding,
    reduction_ratio,
)
from optax_ltd._second_order.line_search import line_search, walk_back
from optax_ltd._second_order.parameter_space import (
    Vector,
    choose,
    dot,
    times,
    zeros_like,
)


class Step(NamedTuple):
    """A step that was searched for.

    Attributes:
      x: the step, zero where there is none.
      factor: by which the line search shortened what was proposed; 0 for no step.
      ratio: ρ of what was proposed.
      lost: whether ρ is noise, as the loss is not exact enough to tell it.
      evaluations: how often the loss was asked.
    """

    x: Vector
    factor: jax.Array
    ratio: jax.Array
    lost: jax.Array
    evaluations: jax.Array


def find_step(
    loss_after: Callable[[Vector], jax.Array],
    linear: Linearised,
    gradient: Vector,
    solution: Solution,
    before: jax.Array,
    idle: jax.Array,
) -> Step:
    """Makes a step of what conjugate gradients went through.

    Args:
      loss_after: the loss after a step.
      linear: the model about the point.
      gradient: ∇f.
      solution: what was found.
      before: the loss at the point, in the dtype that it was computed in.
      idle: whether to do nothing.

    Returns:
      The kept iterate that the walk back ends at, shortened until it lowers the loss.
    """
    chosen = walk_back(loss_after, solution.kept, solution.last, idle=idle)
    x = [many[chosen.slot] for many in solution.kept]
    slope = dot(gradient, x)
    predicted = slope + linear.half_curvature(x)
    change = chosen.loss - widened(before)
    ratio = reduction_ratio(change, predicted)
    lost = is_lost_in_rounding(predicted, before) & is_lost_in_rounding(change, before)
    before = widened(before)
    factor, trials = line_search(loss_after, x, before, chosen.loss, slope, idle=idle)
    x = choose(factor > 0, times(factor, x), zeros_like(x))
    return Step(x, factor, ratio, lost, chosen.evaluations + trials)

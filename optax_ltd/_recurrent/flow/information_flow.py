"""How much of an error signal one time step passes on, and Pascanu's penalty on it.

With the error signal δ_t = ∂L/∂h_t and the step's Jacobian J_t = ∂h_t/∂h_{t-1}, the
gain of step t is g_t = ‖δ_t J_t‖ / ‖δ_t‖ and the penalty Ω = Σ_t mean_b (g_t − 1)²,
Eq. (9) of Pascanu, Mikolov & Bengio (2013), https://arxiv.org/abs/1211.5063.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_choice
from optax_ltd._numerics.example_norms import divide, norms, plain_norms
from optax_ltd._numerics.leaves import combine, inexact, partition
from optax_ltd._recurrent.options import FlowForm, FlowReduction


class StepFlow(NamedTuple):
    """What one batched look at all steps gives.

    Attributes:
      error_norms: ``[T, B]`` float32 or wider, ‖δ_t‖.
      gains: ``[T, B]``, ‖δ_t J_t‖ / ‖δ_t‖; 1 where the step is not active.
      active: ``[T, B]`` boolean, whether the step has an error signal, passes on what
        is finite, and is not masked.
    """

    error_norms: jax.Array
    gains: jax.Array
    active: jax.Array

    def relative(self, signals: list[jax.Array]) -> list[jax.Array]:
        """Signals ``[T, B, ...]`` over ‖δ_t‖, in at least float32; 0 if not active."""
        return [divide(x, self.error_norms, self.active) for x in signals]


def measure(
    error_signals: list[jax.Array],
    passed_on: list[jax.Array],
    mask: jax.Array | None,
    num_batch_dims: int = 1,
) -> StepFlow:
    """Norms and gains of every step from the leaves ``[T, B, ...]`` of δ_t and δ_t J_t.

    A step counts where its term of Ω has a finite gradient: δ_t is divided by ‖δ_t‖, so
    that must be neither 0 nor Inf; and δ_t J_t must not overflow, as it may though δ_t
    does not.
    """
    lead = 1 + num_batch_dims
    sizes = norms(error_signals, lead)
    active = jnp.isfinite(sizes) & (sizes > 0)
    if mask is not None:
        active &= mask
    # Divided first, for the square of a small ‖δ_t J_t‖ would be 0.
    gains = plain_norms([divide(u, sizes, active) for u in passed_on], lead)
    active &= jnp.isfinite(gains)
    return StepFlow(sizes, jnp.where(active, gains, 1), active)


def slope(flow: StepFlow, form: FlowForm, scale: jax.Array) -> jax.Array:
    """Factor, ``[T, B]``, that turns δ_t J_t / ‖δ_t‖ into ∂(scale · φ(g_t)) by it.

    With δ held constant let v = δ J / ‖δ‖, so that g = ‖v‖ and ∂g/∂v = v / g. A term of
    Eq. (9) is φ(g), and ∂φ/∂v = φ'(g) / g · v, where

    - ``"ratio"``: φ = (g − 1)², φ'(g) / g = 2 (g − 1) / g;
    - ``"squared_ratio"``: φ = (g² − 1)², φ'(g) / g = 4 (g² − 1).

    At v = 0 the first has a cusp and the second a gradient of 0; both get 0.
    """
    g = flow.gains
    if form == "ratio":
        factor = 2 * (g - 1) / jnp.where(g > 0, g, 1)
    else:
        factor = 4 * (g**2 - 1)
    return jnp.where(flow.active & (g > 0), factor * scale, 0)


def term_weight(active: jax.Array, reduction: FlowReduction) -> jax.Array:
    """The factor of each (t, b) term in Ω: 1/B, or one over the number of terms."""
    if reduction == "sum":
        num_examples = math.prod(active.shape[1:]) or 1
        # Not weakly typed: a weight in half precision must not round it.
        return jnp.asarray(1 / num_examples, jnp.result_type(float))
    return 1 / jnp.maximum(1, jnp.sum(active))


def omega(
    gains: jax.Array,
    active: jax.Array,
    form: FlowForm,
    reduction: FlowReduction,
) -> jax.Array:
    """Ω, a scalar, from gains and what counts."""
    ratio = gains if form == "ratio" else gains**2
    terms = jnp.where(active, (ratio - 1) ** 2, 0)
    return term_weight(active, reduction) * jnp.sum(terms)


def flow_gains(
    cell_fn: Callable[..., Any],
    params: Any,
    carries: Any,
    inputs: Any,
    error_signals: Any,
) -> jax.Array:
    """Gains g_t = ‖δ_t J_t‖ / ‖δ_t‖ of every step by one batched ``jax.vjp``.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``.
      params: the cell's parameters.
      carries: tree of ``[T, B, ...]``, the carry *before* each step.
      inputs: tree of ``[T, B, ...]``.
      error_signals: tree like ``carries``, δ_t at the carry *after* each step.

    Returns:
      ``[T, B]``, float32 or wider; 1 where ‖δ_t‖ is zero or not finite.

    Raises:
      ValueError: if ``error_signals`` has another structure than ``carries``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> cell = lambda w, h, x: (h @ w + x, h)
      >>> h, x = jnp.ones((5, 2, 3)), jnp.zeros((5, 2, 3))
      >>> gains = ltd.flow_gains(cell, 0.5 * jnp.eye(3), h, x, jnp.ones((5, 2, 3)))
      >>> gains.shape, round(float(gains[0, 0]), 3)
      ((5, 2), 0.5)

    References:
      Pascanu, Mikolov & Bengio, `On the difficulty of training recurrent neural
      networks <https://arxiv.org/abs/1211.5063>`_, 2013, Eq. (9).
    """
    carried, tree = jax.tree.flatten(carries)
    if tree != jax.tree.structure(error_signals):
        raise ValueError(
            f"`error_signals` must have the structure of carries, {tree}; "
            f"got {jax.tree.structure(error_signals)}."
        )
    is_hidden = inexact(carried)
    errors, _ = partition(is_hidden, jax.tree.leaves(error_signals))

    def passed_on(carry: list[Any], x: Any, error: list[Any]) -> list[jax.Array]:
        flowing, rest = partition(is_hidden, carry)

        def step(flowing: list[Any]) -> list[Any]:
            old = jax.tree.unflatten(tree, combine(is_hidden, flowing, rest))
            new, _ = cell_fn(params, old, x)
            return partition(is_hidden, jax.tree.leaves(new))[0]

        return jax.vjp(step, flowing)[1](error)[0]

    u = jax.vmap(passed_on)(carried, inputs, errors)
    return measure(errors, u, None).gains


def flow_penalty(
    gains: jax.Array,
    mask: jax.Array | None = None,
    *,
    form: FlowForm = "ratio",
    reduction: FlowReduction = "sum",
) -> jax.Array:
    """Pascanu's information-flow regulariser Ω from the gains of every step.

    ``form="ratio"`` and ``reduction="sum"`` are the paper's Ω = Σ_t mean_b (g − 1)²;
    ``"squared_ratio"`` and ``"mean"`` are those of the authors' code, (g² − 1)²
    averaged over the steps that count.

    Args:
      gains: ``[T, B]``, as :func:`flow_gains` gives them.
      mask: ``[T, B]`` boolean, the steps that count; all of them by default. Steps
        without an error signal have gain 1: they add nothing to a sum, but must be
        masked to stay out of a mean.
      form: ``"ratio"`` or ``"squared_ratio"``.
      reduction: ``"sum"`` or ``"mean"`` over time.

    Returns:
      A scalar.

    Raises:
      ValueError: if ``form`` or ``reduction`` is none of these, or the mask is not
        boolean and of the shape of ``gains``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> float(ltd.flow_penalty(jnp.full((4, 2), 0.5)))
      1.0

    References:
      Pascanu, Mikolov & Bengio, `On the difficulty of training recurrent neural
      networks <https://arxiv.org/abs/1211.5063>`_, 2013, Eq. (9).
    """
    check_choice("form", form, get_args(FlowForm))
    check_choice("reduction", reduction, get_args(FlowReduction))
    if mask is not None:
        check_steps("mask", mask, gains.shape)
    active = jnp.ones(gains.shape, bool) if mask is None else mask
    return omega(gains, active, form, reduction)


def check_steps(name: str, steps: jax.Array, lead: tuple[int, ...]) -> None:
    """Raises ValueError unless steps are marked by booleans of shape ``lead``."""
    dtype, shape = jnp.result_type(steps), jnp.shape(steps)
    if dtype != jnp.bool_ or shape != lead:
        raise ValueError(
            f"`{name}` must be boolean of shape {lead}, time and batch; got {dtype} "
            f"{shape}."
        )

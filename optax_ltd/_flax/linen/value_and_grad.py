"""``jax.value_and_grad`` of a Linen loss that also tells what δ did along time."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
from flax import linen as nn

from optax_ltd._flax.linen.record_request import RecordRequest
from optax_ltd._flax.sequences import check_same_lead
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.flow.report import GradientFlow, LayerFlow

_Leads = dict[str, tuple[int, ...]]


def value_and_grad(loss_fn: Callable[..., Any], *, has_aux: bool = False) -> Any:
    """As ``jax.value_and_grad``, with what Ω was in each FlowRNN and :func:`scan`.

    One forward and one backward pass, no host callback; it works inside ``jax.jit`` and
    with Ω off. ``loss_fn`` is traced twice, once for shapes only. A layer called
    several times in one loss reports the mean of its norms and gains and the sum of its
    Ω; so do layers of the same path in two models.

    Args:
      loss_fn: ``(params, *args) -> loss``, or ``(loss, aux)`` if ``has_aux``; it calls
        ``model.apply``.
      has_aux: as in ``jax.value_and_grad``.

    Returns:
      A function ``(params, *args) -> (loss, flow_stats), grads``, where ``flow_stats``
      is a dict from the path of each FlowRNN and of each scanned module that the loss
      calls to its :class:`LayerFlow` (``""`` if the model itself is the layer) and
      ``grads`` is the gradient of loss + Σ flow_weight · Ω in ``params``. With
      ``has_aux`` it returns ``((loss, aux), flow_stats), grads``.

    Raises:
      ValueError: from the returned function, if the loss calls no FlowRNN.

    Examples:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> rnn = ltd.linen.FlowRNN(nn.SimpleCell(8), flow_weight=1.0)
      >>> x = jnp.ones((2, 10, 3))
      >>> params = rnn.init(jax.random.key(0), x)
      >>> loss_fn = lambda params, x: jnp.sum(rnn.apply(params, x)[:, -1])
      >>> (loss, flow), grads = ltd.linen.value_and_grad(loss_fn)(params, x)
      >>> flow[""].gains.shape
      (10, 2)
    """

    @wraps(loss_fn)
    def with_flow(params: Any, *args: Any, **kwargs: Any) -> Any:
        leads = _Leads()

        def recorded(params: Any, records: dict[str, FlowRecord]) -> Any:
            with nn.intercept_methods(partial(_hand_out, leads, records)):
                return loss_fn(params, *args, **kwargs)

        def shapes_alone(params: Any) -> None:
            recorded(params, {})

        jax.eval_shape(shapes_alone, params)
        if not leads:
            raise ValueError(
                "`loss_fn` must call at least one optax_ltd.linen.FlowRNN or .scan, "
                "outside of flax.linen.jit, for its error signals to be seen; got none."
            )
        records = {path: FlowRecord.zeros(lead) for path, lead in leads.items()}
        leads.clear()
        differentiate = jax.value_and_grad(recorded, (0, 1), has_aux=has_aux)
        value, (grads, seen) = differentiate(params, records)
        _check_seen(leads, records)
        layers = {path: LayerFlow.from_record(seen[path]) for path in sorted(records)}
        return (value, layers), grads

    return with_flow


def gradient_flow(loss_fn: Callable[..., Any], params: Any, batch: Any) -> GradientFlow:
    """How far back the loss reaches: error signals and gains along time.

    One forward and one backward pass. The model may have Ω on or off.

    Args:
      loss_fn: ``(params, batch) -> loss``, a scalar; it calls ``model.apply``.
      params: whatever ``loss_fn`` takes.
      batch: whatever ``loss_fn`` takes.

    Returns:
      The loss, and for each FlowRNN by its path ``[T, B]`` norms of the error signal,
      gains and activity, its Ω, active fraction and horizon.

    Raises:
      ValueError: if the loss calls no FlowRNN.

    Examples:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> rnn = ltd.linen.FlowRNN(nn.SimpleCell(8))
      >>> x = jnp.ones((2, 10, 3))
      >>> params = rnn.init(jax.random.key(0), x)
      >>> loss_fn = lambda params, x: jnp.sum(rnn.apply(params, x)[:, -1])
      >>> report = ltd.linen.gradient_flow(loss_fn, params, x)
      >>> report.layers[""].error_norms.shape
      (10, 2)
    """
    loss, layers = _gradient_flow(loss_fn, params, batch)
    return GradientFlow(loss, layers)


@partial(jax.jit, static_argnums=0)
def _gradient_flow(loss_fn: Callable[..., Any], params: Any, batch: Any) -> Any:
    return value_and_grad(loss_fn)(params, batch)[0]


def _hand_out(
    leads: _Leads,
    records: dict[str, FlowRecord],
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: nn.module.InterceptorContext,
) -> Any:
    """Notes the time and batch axes of each layer, and gives it its record if made."""
    layer = context.module
    if not isinstance(layer, RecordRequest):
        return call(*args, **kwargs)
    lead = args[0]()
    path = "/".join(layer.path)
    check_same_lead(leads.setdefault(path, lead), lead)
    return records.get(path)


def _check_seen(leads: _Leads, records: dict[str, FlowRecord]) -> None:
    unseen = sorted(records.keys() - leads.keys())
    if unseen:
        raise ValueError(
            "a FlowRNN must not be under flax.linen.jit to be seen, for its first "
            f"trace is kept: use jax.jit around the whole step; got {unseen}."
        )

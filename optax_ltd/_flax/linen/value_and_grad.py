"""``jax.value_and_grad`` of a Linen loss that also tells what δ did along time."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import Scope

from optax_ltd._flax.linen.record_request import RecordRequest
from optax_ltd._flax.sequences import check_same_lead
from optax_ltd._numerics.checks import refusal
from optax_ltd._recurrent.flow.record import FlowRecords, empty_records
from optax_ltd._recurrent.flow.report import GradientFlow, layer_flows

# Time and batch axes of each layer, and its groups.
_Leads = dict[str, tuple[tuple[int, ...], Any]]


def value_and_grad(
    loss_fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Any:
    """As ``jax.value_and_grad``, with what Ω was in each FlowRNN and :func:`scan`.

    One forward and one backward pass, no host callback; it works inside ``jax.jit`` and
    with Ω off. ``loss_fn`` is traced twice, once for shapes only. A layer called
    several times in one loss reports the mean of its norms and gains and the sum of its
    Ω; so do layers of the same path in two models.

    Args:
      loss_fn: ``(params, *args) -> loss``, or ``(loss, aux)`` if ``has_aux``; it calls
        ``model.apply``.
      argnums: as in ``jax.value_and_grad``.
      has_aux: as in ``jax.value_and_grad``.
      holomorphic: must be False, for norms and gains are of a real loss.
      allow_int: as in ``jax.value_and_grad``.

    Returns:
      A function ``(params, *args) -> (loss, flow_stats), grads``, where ``flow_stats``
      is a dict from the path of each FlowRNN and of each scanned module that the loss
      calls to its :class:`LayerFlow` (``""`` if the model itself is the layer; with
      ``flow_groups`` from path and name of each group, as in ``"rnn/membrane"``) and
      ``grads`` is the gradient of loss + Σ flow_weight · Ω in ``params``. With
      ``has_aux`` it returns ``((loss, aux), flow_stats), grads``.

    Raises:
      ValueError: if ``holomorphic``; from the returned function, if the loss calls no
        FlowRNN, or one that ``nn.scan``, ``nn.vmap`` or ``jax.vmap`` makes of stacked
        parameters, for their records would add up to one.

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
    if holomorphic:
        raise refusal("holomorphic", "False, for a report is of real norms", True)
    several = not isinstance(argnums, int)
    numbers = tuple(argnums) if several else (argnums,)

    @wraps(loss_fn)
    def with_flow(*args: Any, **kwargs: Any) -> Any:
        leads = _Leads()
        chosen = tuple(range(len(args))[number] for number in numbers)

        def recorded(records: dict[str, FlowRecords], *args: Any) -> Any:
            answer = partial(_hand_out, leads, records, args)
            with nn.intercept_methods(answer):
                return loss_fn(*args, **kwargs)

        def shapes_alone(moving: dict[int, Any]) -> None:
            recorded({}, *(moving.get(i, arg) for i, arg in enumerate(args)))

        jax.eval_shape(shapes_alone, {number: args[number] for number in chosen})
        if not leads:
            raise ValueError(
                "`loss_fn` must call at least one optax_ltd.linen.FlowRNN or .scan, "
                "outside of flax.linen.jit, for its error signals to be seen; got none."
            )
        records = {path: empty_records(of, lead) for path, (lead, of) in leads.items()}
        leads.clear()
        differentiate = jax.value_and_grad(
            recorded,
            (0, *(number + 1 for number in chosen)),
            has_aux=has_aux,
            allow_int=allow_int,
        )
        value, (seen, *grads) = differentiate(records, *args)
        _check_seen(leads, records)
        layers = {
            name: flow
            for path in sorted(records)
            for name, flow in layer_flows(path, seen[path]).items()
        }
        return (value, layers), tuple(grads) if several else grads[0]

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
    records: dict[str, FlowRecords],
    given: tuple[Any, ...],
    call: Callable[..., Any],
    args: Any,
    kwargs: Any,
    context: nn.module.InterceptorContext,
) -> Any:
    """Notes the time and batch axes of each layer, and gives it its record if made."""
    layer = context.module
    if not isinstance(layer, RecordRequest):
        return call(*args, **kwargs)
    lead_of, flow_groups, cell = args
    lead = lead_of()
    path = "/".join(layer.path)
    _check_unstacked(path, cell, given)
    first, _ = leads.setdefault(path, (lead, flow_groups))
    check_same_lead(first, lead)
    return records.get(path)


def _check_unstacked(path: str, cell: Scope | None, given: tuple[Any, ...]) -> None:
    """Raises ValueError if the cell has a slice of the parameters that were given.

    A layer is made anew in each call, so nothing of it is mapped with its parameters:
    the records of a stack would add up.
    """
    variables: Any = {} if cell is None else cell.variables()
    own = jax.tree.leaves_with_path(variables.get("params", {}))[:1]
    names = [str(getattr(key, "key", key)) for where, _ in own for key in where]
    ending = [*cell.path, *names] if cell else names
    axes = [
        jnp.ndim(leaf)
        for where, leaf in jax.tree.leaves_with_path(given)
        if [str(getattr(key, "key", key)) for key in where][-len(ending) :] == ending
    ]
    if own and axes and min(axes) > jnp.ndim(own[0][1]):
        raise ValueError(
            "a FlowRNN must have parameters of its own for its error signals to be "
            "seen, none that flax.linen.scan or a vmap stacks: make the layers one by "
            "one, or use optax_ltd.FlowRNN of flax.nnx, whose stacks report each "
            f"layer; got a stack at {path!r}."
        )


def _check_seen(leads: _Leads, records: dict[str, FlowRecords]) -> None:
    unseen = sorted(records.keys() - leads.keys())
    if unseen:
        raise ValueError(
            "a FlowRNN must not be under flax.linen.jit to be seen, for its first "
            f"trace is kept: use jax.jit around the whole step; got {unseen}."
        )

"""``nnx.value_and_grad`` that also tells what the error signal did along time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import jax
from flax import nnx

from optax_ltd._flax.nnx.flow_rnn import FlowRNN
from optax_ltd._flax.nnx.record_variable import UNSEEN, FlowRecordVariable
from optax_ltd._recurrent.flow.record import (
    FlowRecords,
    empty_records,
    leading_axes,
)
from optax_ltd._recurrent.flow.report import GradientFlow, layer_flows


def value_and_grad(loss_fn: Callable[..., Any], *, has_aux: bool = False) -> Any:
    """As ``flax.nnx.value_and_grad``, with what Ω was in each :class:`FlowRNN`.

    One forward and one backward pass, no host callback; it works inside ``nnx.jit`` and
    with Ω off. ``loss_fn`` is traced twice, once for shapes only. A layer called
    several times in one loss reports the mean of its norms and gains and the sum of its
    Ω.

    Args:
      loss_fn: ``(model, *args) -> loss``, or ``(loss, aux)`` if ``has_aux``.
      has_aux: as in ``nnx.value_and_grad``.

    Returns:
      A function ``(model, *args) -> (loss, flow_stats), grads``, where ``flow_stats``
      is a dict from the path of each FlowRNN that the loss calls to its
      :class:`LayerFlow` (``""`` if the model itself is the layer; with ``flow_groups``
      from path and name of each group, as in ``"rnn/membrane"``) and ``grads`` is the
      gradient of loss + Σ flow_weight · Ω in the
      model's ``nnx.Param``. With ``has_aux`` it returns
      ``((loss, aux), flow_stats), grads``.

    Raises:
      ValueError: from the returned function, if the model holds no FlowRNN.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rnn = ltd.FlowRNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)), flow_weight=1.0)
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> (loss, flow), grads = ltd.value_and_grad(loss_fn)(rnn, jnp.ones((2, 10, 3)))
      >>> flow[""].gains.shape
      (10, 2)
    """

    @wraps(loss_fn)
    def with_flow(model: Any, *args: Any, **kwargs: Any) -> Any:
        leads = _leading_axes(loss_fn, model, args, kwargs)
        wanted = nnx.DiffState(0, nnx.Any(nnx.Param, FlowRecordVariable))
        differentiate = nnx.value_and_grad(loss_fn, argnums=wanted, has_aux=has_aux)
        with _recording(model, leads):
            value, cotangents = differentiate(model, *args, **kwargs)
        grads, records = nnx.split_state(cotangents, nnx.Param, FlowRecordVariable)
        layers = {
            name: flow
            for path, records in _read(records).items()
            for name, flow in layer_flows(path, records).items()
        }
        return (value, layers), grads

    return with_flow


def gradient_flow(loss_fn: Callable[..., Any], model: Any, batch: Any) -> GradientFlow:
    """How far back the loss reaches: error signals and gains along time.

    One forward and one backward pass. The model may have Ω on or off; nothing in it
    changes.

    Args:
      loss_fn: ``(model, batch) -> loss``, a scalar.
      model: an ``nnx`` module with at least one :class:`FlowRNN`.
      batch: whatever ``loss_fn`` takes.

    Returns:
      The loss, and for each FlowRNN by its path ``[T, B]`` norms of the error signal,
      gains and activity, its Ω, active fraction and horizon.

    Raises:
      ValueError: if the model holds no FlowRNN.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rnn = ltd.FlowRNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)))
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> report = ltd.gradient_flow(loss_fn, rnn, jnp.ones((2, 10, 3)))
      >>> report.layers[""].error_norms.shape
      (10, 2)
    """
    loss, layers = _gradient_flow(loss_fn, model, batch)
    return GradientFlow(loss, layers)


@partial(nnx.jit, static_argnums=0)
def _gradient_flow(loss_fn: Callable[..., Any], model: Any, batch: Any) -> Any:
    return value_and_grad(loss_fn)(nnx.clone(model), batch)[0]


def _layers(model: Any) -> dict[str, FlowRNN]:
    layers = {
        _name(path): module
        for path, module in nnx.iter_modules(model)
        if isinstance(module, FlowRNN)
    }
    if not layers:
        raise ValueError(
            "`model` must hold at least one optax_ltd.FlowRNN for its error signals "
            "to be seen (optax_ltd.linen has this function for Linen models); got a "
            f"{type(model).__name__} without one."
        )
    return layers


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in path)


def _read(records: nnx.State) -> dict[str, FlowRecords]:
    """Records by the path of the layer that holds them."""
    return {
        _name(path[:-1]): variable.get_value()
        for path, variable in nnx.to_flat_state(records)
    }


def _leading_axes(
    loss_fn: Callable[..., Any], model: Any, args: Any, kwargs: Any
) -> dict[str, tuple[int, ...]]:
    """Time and batch axes that each layer is called with, from an abstract run."""
    graphdef, state = nnx.split((model, args, kwargs))

    def run(state: Any) -> dict[str, FlowRecords]:
        model, args, kwargs = nnx.merge(graphdef, state)
        with _recording(model, dict.fromkeys(_layers(model), UNSEEN)):
            loss_fn(model, *args, **kwargs)
            return _read(nnx.state(model, FlowRecordVariable))

    records = jax.eval_shape(run, state)
    shapes = {path: leading_axes(of_layer) for path, of_layer in records.items()}
    return {path: shape for path, shape in shapes.items() if shape != UNSEEN}


@contextmanager
def _recording(model: Any, leads: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Gives every layer a record of zeros for as long as the context lasts."""
    layers = {path: layer for path, layer in _layers(model).items() if path in leads}
    for path, layer in layers.items():
        records = empty_records(layer.flow_groups, leads[path])
        layer.flow_record = FlowRecordVariable(records)
    try:
        yield
    finally:
        for layer in layers.values():
            layer.flow_record = nnx.data(None)

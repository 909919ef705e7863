"""``nnx.value_and_grad`` that also tells what the error signal did along time."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import jax
import numpy as np
from flax import nnx

from optax_ltd._flax.nnx.flow_rnn import FlowRNN
from optax_ltd._flax.nnx.record_variable import FlowRecordVariable, Probe
from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.leaves import Flags, Leaves, combine, partition
from optax_ltd._recurrent.flow import listening
from optax_ltd._recurrent.flow.report import GradientFlow, layer_flows
from optax_ltd._recurrent.flow.value_and_grad import value_and_flow

_Argnums = int | nnx.DiffState | Sequence[int | nnx.DiffState]


def value_and_grad(
    loss_fn: Callable[..., Any] | None = None,
    *,
    argnums: _Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    graph: bool | None = None,
    graph_updates: bool | None = None,
) -> Any:
    """As ``flax.nnx.value_and_grad``, with what Ω was in each recurrent layer.

    One forward and one backward pass, no host callback; it works inside ``nnx.jit`` and
    with Ω off. ``loss_fn`` is traced twice, once for shapes only.

    A report is of one layer: of each that ``nnx.vmap`` made of a single object and
    ``nnx.scan`` or ``nnx.vmap`` runs. A layer called several times in one loss reports
    the mean of its norms and gains and the sum of its Ω. Every call of :func:`unroll`
    in the loss reports too. Under ``jax.vmap`` its report is of all examples,
    ``[T, *mapped, *batch]``, with the sum of their Ω.

    Without a module among the arguments it is ``jax.value_and_grad`` that does so, for
    the parameters of any library. Of such an argument the floating leaves are
    differentiated, and ``grads`` has None for what else a tree such as an Equinox
    module holds.

    Args:
      loss_fn: ``(model, *args) -> loss``, or ``(loss, aux)`` if ``has_aux``. Without
        it, a decorator.
      argnums: as in ``nnx.value_and_grad``; so are the options below. The layers may be
        in any argument.
      has_aux: whether ``loss_fn`` returns a pair.
      holomorphic: must be False, for norms and gains are of a real loss.
      allow_int: whether integers may be differentiated.
      graph: whether modules are graphs, or trees.
      graph_updates: whether changes of a module's structure come out.

    Returns:
      A function ``(model, *args) -> (loss, flow_stats), grads``, where ``flow_stats``
      is a dict from the path of each FlowRNN that the loss calls to its
      :class:`LayerFlow` (``""`` if the model itself is the layer, ``"layers/0"`` for
      the first of a stack, with the number of the argument in front if several hold
      layers, and with ``flow_groups`` the name of each group behind, as in
      ``"rnn/membrane"``), and from ``"unroll_0"`` for the first call of
      :func:`unroll`, and ``grads`` is the gradient of loss + Σ flow_weight · Ω in the
      model's ``nnx.Param``. With ``has_aux`` it returns
      ``((loss, aux), flow_stats), grads``.

    Raises:
      ValueError: if ``holomorphic``; from the returned function, if there is neither a
        FlowRNN in the arguments nor an :func:`unroll` in the loss, if that is in a loop
        such as ``jax.lax.scan``, or if a stack's records are not mapped as its
        parameters.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> rnn = ltd.FlowRNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)), flow_weight=1.0)
      >>> loss_fn = lambda model, x: jnp.sum(model(x)[:, -1])
      >>> (loss, flow), grads = ltd.value_and_grad(loss_fn)(rnn, jnp.ones((2, 10, 3)))
      >>> flow[""].gains.shape
      (10, 2)

      >>> cell = lambda w, h, x: (jnp.tanh(h @ w + x),) * 2
      >>> start = jnp.zeros((2, 3))
      >>> loss_fn = lambda w, x: jnp.sum(ltd.unroll(cell, w, start, x)[0])
      >>> args = 0.5 * jnp.eye(3), jnp.ones((10, 2, 3))
      >>> (loss, flow), grads = ltd.value_and_grad(loss_fn)(*args)
      >>> flow["unroll_0"].gains.shape, grads.shape
      ((10, 2), (3, 3))
    """
    if holomorphic:
        raise refusal("holomorphic", "False, for a report is of real norms", True)
    options: dict[str, Any] = {"has_aux": has_aux, "allow_int": allow_int}
    of_modules: dict[str, Any] = {"graph": graph, "graph_updates": graph_updates}
    if loss_fn is None:
        return partial(value_and_grad, argnums=argnums, **options, **of_modules)

    @wraps(loss_fn)
    def with_flow(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _in_order(loss_fn, args, kwargs)
        bound = partial(loss_fn, **kwargs) if kwargs else loss_fn
        if not _holds_module(args):
            return value_and_flow(bound, _numbers(argnums), args, **options)
        return _of_modules(bound, argnums, args, **options, **of_modules)

    return with_flow


def gradient_flow(loss_fn: Callable[..., Any], model: Any, batch: Any) -> GradientFlow:
    """How far back the loss reaches: error signals and gains along time.

    One forward and one backward pass. The model may have Ω on or off; nothing in it
    changes.

    Args:
      loss_fn: ``(model, batch) -> loss``, a scalar.
      model: an ``nnx`` module with at least one :class:`FlowRNN`; or the parameters of
        a loss that calls :func:`unroll`, of any library.
      batch: whatever ``loss_fn`` takes.

    Returns:
      The loss, and for each FlowRNN by its path, and each call of :func:`unroll` as
      ``"unroll_0"``, ``"unroll_1"`` and so on, ``[T, B]`` norms of the error signal,
      gains and activity, its Ω, active fraction and horizon; as
      :func:`value_and_grad` reports them.

    Raises:
      ValueError: as :func:`value_and_grad`.

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
    if _holds_module((model, batch)):
        return GradientFlow(*_of_model(loss_fn, model, batch))
    leaves, tree = jax.tree.flatten((model, batch))
    flags = tuple(isinstance(x, jax.Array | np.ndarray | np.generic) for x in leaves)
    arrays, others = partition(flags, leaves)
    return GradientFlow(*_of_functions(loss_fn, tree, flags, tuple(others), arrays))


@partial(nnx.jit, static_argnums=0)
def _of_model(loss_fn: Callable[..., Any], model: Any, batch: Any) -> Any:
    return value_and_grad(loss_fn)(nnx.clone(model), batch)[0]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _of_functions(
    loss_fn: Callable[..., Any], tree: Any, flags: Flags, others: Any, arrays: Leaves
) -> Any:
    args = jax.tree.unflatten(tree, combine(flags, arrays, others))
    return value_and_grad(loss_fn)(*args)[0]


def _in_order(loss_fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Positional arguments, and those that can be given by name alone."""
    if not kwargs:
        return args, kwargs
    bound = inspect.signature(loss_fn).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs


def _holds_module(tree: Any) -> bool:
    leaves = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, nnx.Module))
    return any(isinstance(leaf, nnx.Module) for leaf in leaves)


def _numbers(argnums: Any) -> Any:
    several = argnums if isinstance(argnums, Sequence) else [argnums]
    if not all(isinstance(number, int) for number in several):
        required = "an int or a sequence of them where no argument holds a module"
        raise refusal("argnums", required, argnums)
    return argnums


def _of_modules(
    loss_fn: Callable[..., Any],
    argnums: _Argnums,
    args: tuple[Any, ...],
    *,
    has_aux: bool,
    **options: Any,
) -> Any:
    """The loss, what is reported, and the gradient, where an argument is a module."""
    layers, calls = _audit(loss_fn, args)
    zeros = {
        "layers": {path: axes.zeros() for path, axes in layers.items()},
        "calls": {name: axes.zeros() for name, axes in calls.items()},
    }

    def recorded(records: Any, *args: Any) -> Any:
        of_layers = records["layers"]

        def holder(path: str, layer: FlowRNN) -> FlowRecordVariable | None:
            record = of_layers.get(path)
            return None if record is None else FlowRecordVariable(record)

        with _holding(args, holder), listening.answering(calls, records["calls"]):
            return loss_fn(*args)

    several = isinstance(argnums, Sequence)
    chosen = [_shifted(number, len(args)) for number in _as_list(argnums)]
    differentiate = nnx.value_and_grad(
        recorded, argnums=(0, *chosen), has_aux=has_aux, **options
    )
    value, (seen, *grads) = differentiate(zeros, *args)
    reports = {}
    for path, axes in layers.items():
        for place, records in axes.layers(seen["layers"][path]).items():
            below = f"{path}/{place}".strip("/") if place else path
            reports |= layer_flows(below, records)
    for name, axes in calls.items():
        reports |= layer_flows(name, axes.joined(seen["calls"][name]))
    return (value, reports), tuple(grads) if several else grads[0]


def _as_list(argnums: _Argnums) -> list[int | nnx.DiffState]:
    return list(argnums) if isinstance(argnums, Sequence) else [argnums]


def _shifted(argnum: int | nnx.DiffState, count: int) -> int | nnx.DiffState:
    """The argument behind the records, which come first."""
    if isinstance(argnum, nnx.DiffState):
        return nnx.DiffState(argnum.argnum + 1, argnum.filter)
    return argnum % count + 1 if -count <= argnum < count else argnum + 1


def _audit(loss_fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The axes of each layer and of each call of ``unroll``, from an abstract run."""
    graphdef, state = nnx.split(args)
    probes: dict[str, Probe] = {}

    def probe(path: str, layer: FlowRNN) -> Any:
        return nnx.static(probes.setdefault(path, Probe(layer.cell)))

    def run(state: Any) -> None:
        args = nnx.merge(graphdef, state)
        with _holding(args, probe):
            loss_fn(*args)

    calls = listening.audit(run, state)
    if not (probes or calls):
        raise ValueError(
            "`model` must hold at least one optax_ltd.FlowRNN, or the loss call "
            "optax_ltd.unroll, for error signals to be seen (optax_ltd.linen has this "
            f"function for Linen models); got a {type(args[0]).__name__} without one."
        )
    layers = {path: p.axes for path, p in probes.items() if p.axes is not None}
    return layers, calls


def _layers(args: tuple[Any, ...]) -> dict[str, FlowRNN]:
    """By path; with the argument's number in front if several arguments hold layers."""
    tree: Any = args  # Flax iterates over any tree.
    found = [
        (path, module)
        for path, module in nnx.iter_modules(tree)
        if isinstance(module, FlowRNN)
    ]
    start = 1 if len({path[0] for path, _ in found}) == 1 else 0
    return {"/".join(map(str, path[start:])): layer for path, layer in found}


@contextmanager
def _holding(
    args: tuple[Any, ...], holder: Callable[[str, FlowRNN], Any]
) -> Iterator[None]:
    """Gives every layer what it tells to, for as long as the context lasts."""
    layers = _layers(args)
    for path, layer in layers.items():
        held = holder(path, layer)
        layer.flow_record = nnx.data(None) if held is None else held
    try:
        yield
    finally:
        for layer in layers.values():
            layer.flow_record = nnx.data(None)

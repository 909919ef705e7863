"""How calls of ``unroll`` are heard by who differentiates the loss that they are in.

A loss of bare functions has no layer that could hold a record of zeros, so ``unroll``
asks whoever listens. First :func:`audit` learns from an abstract run which calls there
are, and their axes; then :func:`answering` gives each of them zeros to be
differentiated by.

What a call closes over are the zeros of *one* call. Under ``jax.vmap`` there are as
many calls as examples, and an argument that is not mapped gets the sum of their
cotangents. So the zeros pass through a function with a batching rule of its own, by
which each ``vmap`` takes an axis of them. A loop has no such rule, nor have the parts
of a mesh; calls in there are refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.extend.core import Jaxpr, Primitive
from jax.interpreters import batching

from optax_ltd._recurrent.flow.record import FlowRecord, FlowRecords, empty_records
from optax_ltd._recurrent.groups import group_names


class Axes(NamedTuple):
    """The axes of a call.

    Attributes:
      mapped: those of ``jax.vmap``, the outermost first.
      lead: time and batch, as the call sees them.
      groups: the names of its groups of carry leaves, or None.
    """

    mapped: tuple[int, ...]
    lead: tuple[int, ...]
    groups: tuple[str, ...] | None

    def zeros(self) -> FlowRecords:
        """Empty records of all that is mapped, ``[*mapped, T, *batch]``."""
        zeros = empty_records(self.groups, self.lead)
        return jax.tree.map(lambda x: jnp.zeros((*self.mapped, *x.shape)), zeros)

    def joined(self, seen: FlowRecords) -> FlowRecords:
        """One record of all that is mapped, ``[T, *mapped, *batch]``."""
        is_record = lambda x: isinstance(x, FlowRecord)
        return jax.tree.map(self._joined, seen, is_leaf=is_record)

    def _joined(self, seen: FlowRecord) -> FlowRecord:
        at = len(self.mapped)
        timed = seen._replace(omega=None, calls=None)  # pyright: ignore
        timed = jax.tree.map(lambda x: jnp.moveaxis(x, at, 0), timed)
        calls = jnp.max(seen.calls, initial=0)
        return timed._replace(omega=jnp.sum(seen.omega), calls=calls)


class Listener(Protocol):
    """What answers a call of ``unroll``."""

    def __call__(
        self, lead: tuple[int, ...], flow_groups: Any, near: Any
    ) -> FlowRecords | None:
        """The zeros for one call.

        Args:
          lead: time and batch axes.
          flow_groups: the option of the call.
          near: its arrays; wherever the call is mapped one of them is.
        """
        ...


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)

# So that a function under `jax.jit` is traced anew for each listener.
_trace_key = jax.make_user_context(None)


def listener() -> Listener | None:
    """Who listens, if anybody does."""
    return _LISTENER.get()


def audit(loss_fn: Callable[..., Any], *args: Any) -> dict[str, Axes]:
    """The axes of each call of ``unroll``, by its name, from an abstract run.

    Args:
      loss_fn: the loss, or what stands for it.
      *args: its arguments, trees of arrays.

    Raises:
      ValueError: if a call is in a loop or in a part of a mesh, or is shared by places
        where different axes are mapped.
    """
    heard: dict[str, tuple[Any, Any]] = {}

    def note(lead: tuple[int, ...], flow_groups: Any, near: Any) -> None:
        name = _name(len(heard))
        heard[name] = lead, group_names(flow_groups)
        leaves = jax.lax.stop_gradient(jax.tree.leaves(near))
        _mark.bind(*leaves, name=name, mapped=())

    def run(*args: Any) -> None:
        loss_fn(*args)

    with _heard_by(note):
        jaxpr = jax.make_jaxpr(run)(*args).jaxpr
    mapped: dict[str, tuple[int, ...]] = {}
    for mark in _marks(jaxpr):
        if mapped.setdefault(mark["name"], mark["mapped"]) != mark["mapped"]:
            raise ValueError(
                "a function under jax.jit that calls `unroll` must be under the same "
                "jax.vmap wherever it is called, for its error signal to be seen; got "
                f"axes {mapped[mark['name']]} and {mark['mapped']}."
            )
    return {name: Axes(mapped[name], *of_call) for name, of_call in heard.items()}


@contextmanager
def answering(axes: dict[str, Axes], records: dict[str, FlowRecords]) -> Iterator[None]:
    """Gives a record to each call of the run inside.

    Args:
      axes: of each call, by its name.
      records: zeros of these axes.

    Raises:
      ValueError: if the calls are not those of the abstract run.
    """
    heard: dict[str, tuple[Any, Any]] = {}

    def answer(
        lead: tuple[int, ...], flow_groups: Any, near: Any
    ) -> FlowRecords | None:
        name = _name(len(heard))
        heard[name] = lead, group_names(flow_groups)
        if name not in axes or axes[name][1:] != heard[name]:
            return None
        return _handing(len(axes[name].mapped))(records[name], near)

    with _heard_by(answer):
        yield
    known = {name: one[1:] for name, one in axes.items()}
    if heard != known:
        raise ValueError(
            "`loss_fn` must make the same calls of `unroll` whenever it is run; got "
            f"{heard} after {known}."
        )


@contextmanager
def _heard_by(listener: Listener) -> Iterator[None]:
    token = _LISTENER.set(listener)
    try:
        with _trace_key(object()):
            yield
    finally:
        _LISTENER.reset(token)


def _name(index: int) -> str:
    return f"unroll_{index}"


def _handing(axes: int) -> Callable[[FlowRecords, Any], FlowRecords]:
    """Takes records with so many mapped axes in front to the one of a call.

    The innermost ``vmap`` acts first, and what it maps is the last of these axes.
    """
    if axes == 0:
        return lambda records, near: records

    @custom_vmap
    def hand(records: FlowRecords, near: Any) -> FlowRecords:
        del near
        # Of a shape alone, for under `vmap` the rule takes its place.
        return jax.tree.map(lambda x: jnp.sum(x, tuple(range(axes))), records)

    @hand.def_vmap
    def _(size: int, batched: Any, records: FlowRecords, near: Any) -> Any:
        del size, batched
        handed = _handing(axes - 1)(records, near)
        return handed, jax.tree.map(lambda _: True, handed)

    return hand


# Marks in the jaxpr of an abstract run where a call is, and what maps it.
_mark = Primitive("optax_ltd_unroll")
_mark.multiple_results = True
_mark.def_abstract_eval(lambda *near, name, mapped: [])

# Inside of which a call is still one call.
_TRANSPARENT = {
    *("jit", "pjit", "checkpoint", "remat2", "cond", "closed_call", "core_call"),
    *("custom_jvp_call", "custom_vmap_call"),
}


def _mapped_mark(near: Any, dims: Any, *, name: str, mapped: tuple[int, ...]) -> Any:
    sizes = (x.shape[dim] for x, dim in zip(near, dims, strict=True) if dim is not None)
    return _mark.bind(*near, name=name, mapped=(next(sizes), *mapped)), []


batching.primitive_batchers[_mark] = _mapped_mark


def _marks(jaxpr: Jaxpr, inside: str | None = None) -> Iterator[dict[str, Any]]:
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if equation.primitive is _mark:
            if inside is not None:
                raise ValueError(
                    "`unroll` must be outside of loops and of parts of a mesh for its "
                    "error signal to be seen; give it a `flow_record` of its own there,"
                    f" or use jax.vmap; got a call inside of {inside}."
                )
            yield equation.params
        around = inside if name in _TRANSPARENT else name
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_holds):
            if _holds(inner):
                yield from _marks(getattr(inner, "jaxpr", inner), around)


def _holds(value: Any) -> bool:
    return hasattr(value, "eqns")

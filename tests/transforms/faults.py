"""Gradients with every fault there is, for hypothesis to draw and to shrink.

The trees come from a small menu, so that little is compiled; what they hold is drawn
freely: magnitudes over the whole range of each dtype, zeros of both signs, the ends
of the range, Inf and NaN.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

LONGEST = 6  # gradients in a run

_FLOAT0 = np.zeros(2, jax.dtypes.float0)
_COUNTS = np.array([7, -(2**31)], np.int32)
_FLAGS = np.array([True, False])


class Structure(NamedTuple):
    """A kind of tree.

    Attributes:
      leaves: dtype and shape of each leaf that is drawn.
      build: makes the tree of these leaves, adding those that are never drawn.
      x64: whether it needs the dtypes of 64 bits.
    """

    leaves: tuple[tuple[Any, tuple[int, ...]], ...]
    build: Callable[[list[Any]], Any]
    x64: bool = False

    def paths(self) -> list[tuple[int, str]]:
        """Index among all leaves, and path, of each leaf that is drawn."""
        marks = [object() for _ in self.leaves]
        order = {id(mark): number for number, mark in enumerate(marks)}
        found = jax.tree.leaves_with_path(self.build(marks))
        places = [
            (order[id(leaf)], i, jax.tree_util.keystr(path) or "the only leaf")
            for i, (path, leaf) in enumerate(found)
            if id(leaf) in order
        ]
        return [place[1:] for place in sorted(places)]


def _everything(leaves: list[Any]) -> Any:
    half, brain, empty, single, pair, wave = leaves
    return {
        "cell": [brain, None, (empty, {"deep": half}), optax.MaskedNode()],
        "count": _COUNTS,
        "flags": (_FLAGS, _FLOAT0),
        "head": (single, [pair], {}),
        "wave": wave,
    }


_f32, _f64 = jnp.float32, jnp.float64
STRUCTURES = {
    "everything": Structure(
        (
            (jnp.float16, (2,)),
            (jnp.bfloat16, (2, 1)),
            (_f32, (0, 3)),
            (_f32, ()),
            (_f32, (1, 2)),
            (jnp.complex64, (2,)),
        ),
        _everything,
    ),
    "doubles": Structure(
        ((_f64, (2, 1)), (_f32, (2,)), (jnp.complex128, ()), (jnp.float16, ())),
        lambda x: (x[0], {"b": x[1], "a": x[2]}, [None, x[3]]),
        x64=True,
    ),
    "array": Structure(((_f32, (4,)),), lambda x: x[0]),
    "matrix and vector": Structure(
        ((_f32, (2, 3)), (_f32, (3,))), lambda x: {"kernel": x[0], "bias": x[1]}
    ),
    "float16": Structure(((jnp.float16, (3,)), (jnp.float16, ())), tuple),
    "bfloat16": Structure(((jnp.bfloat16, (2, 2)),), lambda x: {"w": x[0]}),
    "complex64": Structure(((jnp.complex64, (3,)), (_f32, ())), list),
    "single in 64 bits": Structure(((_f32, (3,)),), lambda x: {"w": x[0]}, x64=True),
    "no entries": Structure(((_f32, (0,)), (jnp.complex64, (2, 0))), tuple),
    "no numbers": Structure((), lambda _: {"n": _COUNTS, "m": optax.MaskedNode()}),
    "no leaves": Structure((), lambda _: {"a": None, "b": ()}),
}
FEW = ("everything", "doubles")


class Case(NamedTuple):
    """A run of gradients.

    Attributes:
      structure: its name.
      limit: the threshold and the size of random steps.
      late: whether it begins in a state that has seen many gradients.
      gradients: the leaves that are drawn, for one gradient after the other.
    """

    structure: str
    limit: float
    late: bool
    gradients: list[list[np.ndarray]]


def real_parts(leaf: Any) -> np.ndarray:
    """The real numbers of a leaf as a flat array, those of a complex entry in a row."""
    entries = np.ascontiguousarray(leaf).reshape(-1)
    return entries.view(jnp.finfo(entries.dtype).dtype)


SPECIALS: dict[str, Callable[[Any], float]] = {
    "1": lambda info: 1.0,
    "-0": lambda info: -0.0,
    "largest": lambda info: float(info.max),
    "-largest": lambda info: -float(info.max),
    "smallest": lambda info: float(info.tiny),
    "subnormal": lambda info: -float(info.smallest_subnormal),
    "Inf": lambda info: np.inf,
    "-Inf": lambda info: -np.inf,
    "NaN": lambda info: np.nan,
}
FAULTS = ("Inf", "-Inf", "NaN")


def _array(dtype: Any, shape: Any, exponent: int, entries: list[Any]) -> np.ndarray:
    """An array of real entries: a whole number of 1024ths, or a special number."""
    info = jnp.finfo(dtype)
    end = float(info.max)
    with np.errstate(over="ignore"):
        values = [
            SPECIALS[entry](info)
            if isinstance(entry, str)
            else min(max(np.ldexp(entry / 1024, exponent), -end), end)
            for entry in entries
        ]
    flat = np.array(values, np.float64).astype(info.dtype)
    return flat.view(dtype).reshape(shape)


@functools.cache
def _entry_counts(name: str) -> tuple[int, ...]:
    """How many real numbers each leaf holds."""
    return tuple(
        np.zeros(shape, dtype).nbytes * 8 // jnp.finfo(dtype).bits
        for dtype, shape in STRUCTURES[name].leaves
    )


@functools.cache
def _parts(name: str, faulty: bool) -> Any:
    """What a gradient is made of: an exponent, mantissas, special numbers."""
    count = sum(_entry_counts(name))
    reach = (-1074, 1023) if STRUCTURES[name].x64 else (-149, 127)
    exponent = st.one_of(st.integers(-4, 3), st.integers(*reach))
    mantissa = st.integers(-4096, 4096)
    # Gradients without a fault are as common as those that may have some.
    few = [kind for kind in SPECIALS if kind not in FAULTS]
    few = [*SPECIALS, *FAULTS * 2] if faulty else few
    special = st.tuples(st.integers(0, max(count - 1, 0)), st.sampled_from(few))
    return st.tuples(
        exponent,
        st.lists(mantissa, min_size=count, max_size=count),
        st.lists(special, max_size=3),
    )


@st.composite
def gradients(draw: Any, name: str, *, faulty: bool | None = None) -> list[np.ndarray]:
    """The leaves of one gradient.

    Args:
      draw: hypothesis's.
      name: of the structure.
      faulty: whether Inf and NaN are drawn; either way by default.

    Returns:
      The leaves.
    """
    faulty = draw(st.booleans()) if faulty is None else faulty
    exponent, entries, specials = draw(_parts(name, faulty))
    for place, kind in specials if entries else []:
        entries[place] = kind
    ends = np.cumsum(_entry_counts(name))
    parts = np.split(np.array(entries, object), ends[:-1]) if len(ends) else []
    rows = zip(STRUCTURES[name].leaves, parts, strict=True)
    return [_array(*leaf, exponent, part.tolist()) for leaf, part in rows]


LIMITS = (1.0, 0.0, 0.3, 7.7, 1e4, 1e-6, 1e-20, 1e20, 1e-30, 1e30)


@st.composite
def cases(
    draw: Any,
    names: tuple[str, ...] = tuple(STRUCTURES),
    limits: tuple[float, ...] = LIMITS,
    *,
    steps: tuple[int, int] = (1, LONGEST),
) -> Case:
    """A run of one gradient or a few.

    Args:
      draw: hypothesis's.
      names: structures to choose from.
      limits: thresholds to choose from; the first one comes up in half of the cases.
      steps: the least and the largest number of gradients.

    Returns:
      The run.
    """
    name = draw(st.sampled_from(names))
    limit = limits[0] if draw(st.booleans()) else draw(st.sampled_from(limits))
    least, most = steps
    run = draw(st.lists(gradients(name), min_size=least, max_size=most))
    return Case(name, limit, draw(st.booleans()), run)


def run_cases(strategy: Any, check: Callable[[Any], None], count: int, seed: int):
    """Runs a check on as many cases as promised, the same in each session.

    Args:
      strategy: what to draw them from.
      check: takes a case and raises.
      count: of cases.
      seed: decides which they are.
    """
    checked = 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        deadline=None,
        max_examples=count,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(strategy)
    def run(case: Any) -> None:
        nonlocal checked
        check(case)
        checked += 1

    run()
    assert checked >= count

"""The options of a recurrent layer: one carrier from the doors down to the numerics.

A field of :class:`Options` is an option's name, default, check and documentation. The
doors (``unroll``, and the layers of both APIs of Flax) take the fields by name, and the
loops read them. To add one, add a field here, its type to :class:`OptionKeywords`, and
a field of that name to the Linen layer, whose fields Flax wants written out.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np

from optax_ltd._numerics.checks import (
    check_bool,
    check_choice,
    is_count,
    is_number,
    refusal,
)
from optax_ltd._recurrent.carry_clip import CarryClip, check_carry_clip
from optax_ltd._recurrent.groups import check_flow_groups

FlowForm = Literal["ratio", "squared_ratio"]
FlowSlopes = Literal["moving", "held"]
FlowReduction = Literal["sum", "mean"]
NamedParams = Literal["all", "recurrent"]

_Door = TypeVar("_Door")


def _field(default: Any, documentation: str, check: Callable[[str, Any], Any]) -> Any:
    told = {"documentation": documentation, "check": check}
    return dataclasses.field(default=default, metadata=told)


def _check_flow_weight(name: str, weight: Any) -> None:
    required = "a number or a floating scalar array"
    if callable(weight):
        hint = "For a schedule, call it with the step and give its value at each call."
        raise TypeError(f"{refusal(name, required, weight)} {hint}")
    if is_number(weight):
        if not (np.isfinite(weight) and weight >= 0):
            raise refusal(name, "a finite number >= 0", weight)
        return
    dtype, shape = (getattr(weight, part, None) for part in ("dtype", "shape"))
    if dtype is None or shape != () or not jnp.issubdtype(dtype, jnp.floating):
        raise refusal(name, required, weight, error=TypeError)


def _check_fraction(name: str, fraction: Any) -> None:
    if not (is_number(fraction) and 0 < fraction <= 1):
        raise refusal(name, "a number > 0 and <= 1", fraction)


def _check_params(name: str, params: Any) -> None:
    # What else it may be differs from door to door, and is checked there.
    if isinstance(params, str):
        check_choice(name, params, get_args(NamedParams))


def _check_window(name: str, steps: Any) -> None:
    if steps is not None and not is_count(steps, 1):
        raise refusal(name, "None or an int >= 1", steps)


def _check_unroll(name: str, steps: Any) -> None:
    if not (steps is None or isinstance(steps, bool) or is_count(steps, 1)):
        raise refusal(name, "None, an int >= 1, True or False", steps)


def _check_word(literal: Any) -> Callable[[str, Any], None]:
    return lambda name, word: check_choice(name, word, get_args(literal))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a recurrent layer is to do about Ω, about δ, and about memory and time.

    Raises:
      ValueError: if an option is out of range.
      TypeError: if ``flow_weight`` is neither a number nor a floating scalar array, or
        ``carry_clip`` is not from :func:`~optax_ltd.clip_carry_gradient`.
    """

    flow_weight: jax.typing.ArrayLike = _field(
        0.0, "the factor of Ω, a number >= 0; 0 turns Ω off.", _check_flow_weight
    )
    flow_form: FlowForm = _field(
        "ratio",
        '``"ratio"``, the paper\'s (g − 1)², or ``"squared_ratio"``, the authors\' '
        "code's (g² − 1)².",
        _check_word(FlowForm),
    )
    flow_slopes: FlowSlopes = _field(
        "moving",
        'whether ∇Ω follows the slopes of the cell: ``"moving"`` with the parameters, '
        'or ``"held"`` constant like the carry, as in the paper, whose state is the '
        "pre-activation, and in the authors' code. Then parameters are followed only "
        "where they stand in the Jacobian beside these slopes; a factor computed of "
        "the carry counts as a slope, with every parameter in it. A loop, a branch, a "
        "checkpoint or a custom VJP over both is refused.",
        _check_word(FlowSlopes),
    )
    flow_reduction: FlowReduction = _field(
        "sum",
        '``"sum"`` over time as in the paper, or ``"mean"`` over the steps that count '
        "as in the code. A weight does not carry over from one to the other.",
        _check_word(FlowReduction),
    )
    flow_params: Any = _field(
        "all",
        'which of the cell\'s parameters Ω acts on: ``"all"``, ``"recurrent"`` (those '
        "in a matrix product or convolution with the carry, as in the code), or some "
        "of them, named by",
        _check_params,
    )
    flow_groups: Any = _field(
        None,
        "the carry leaves that Ω looks at together: a tree of names that is a prefix "
        'of the carry, such as ``("membrane", "synapse")`` for a carry of two leaves. '
        "Each group then has gains, an Ω and a report of its own, and the Ω of all are "
        "added. None for all leaves together.",
        check_flow_groups,
    )
    flow_fraction: float = _field(
        1.0,
        "share of the time steps at which Ω is differentiated, in (0, 1], drawn anew "
        "at each call without replacement; the gradient of Ω is unbiased. What is "
        "reported of Ω is of all steps.",
        _check_fraction,
    )
    carry_clip: CarryClip | None = _field(
        None,
        "from :func:`clip_carry_gradient`, a bound on the error signal at each step of "
        "back-propagation through time, with Ω on or off; or None.",
        check_carry_clip,
    )
    truncate: int | None = _field(
        None,
        "truncated back-propagation through time: the state is carried on, but the "
        "error signal stops at the beginning of every window of so many steps. None "
        "for the whole sequence.",
        _check_window,
    )
    remat: bool = _field(
        False,
        "whether the backward pass runs the cell again instead of keeping what every "
        "step computed. Beside inputs and outputs, memory then grows as √T.",
        check_bool,
    )
    unroll: int | None = _field(
        None,
        "steps in one turn of each loop, as in ``jax.lax.scan``; True for all of them. "
        "None for what suits the cell on the platform that the program is lowered for: "
        "several on a GPU, where each turn has launches of its own, and 1 elsewhere.",
        _check_unroll,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            field.metadata["check"](field.name, getattr(self, field.name))

    @classmethod
    def of(cls, layer: Any) -> "Options":
        """The options that a layer holds as attributes of their names."""
        fields = dataclasses.fields(cls)
        return cls(**{field.name: getattr(layer, field.name) for field in fields})

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)]

    @property
    def flow_off(self) -> bool:
        """Whether the weight is the Python number 0, with which Ω is off."""
        return isinstance(self.flow_weight, int | float) and self.flow_weight == 0

    @property
    def draws(self) -> bool:
        """Whether each call draws the steps at which Ω is differentiated."""
        return self.flow_fraction < 1 and not self.flow_off

    @property
    def has_every_derivative(self) -> bool:
        """Whether the backward pass is JAX's own: nothing adds Ω or bounds δ."""
        return self.flow_off and self.carry_clip is None

    @property
    def changes_nothing(self) -> bool:
        """Whether any scan over the cell would do."""
        defaults = Options()
        beside = (getattr(self, n) == getattr(defaults, n) for n in BESIDE_FLOW)
        return self.flow_off and all(beside)

    @property
    def unroll_of_scan(self) -> int:
        """``unroll`` for a scan that is not of this library and knows no None."""
        return 1 if self.unroll is None else self.unroll

    def reweighted(self, flow_weight: jax.typing.ArrayLike | None) -> "Options":
        """The same with the weight of one call, if that has one of its own."""
        if flow_weight is None:
            return self
        return dataclasses.replace(self, flow_weight=flow_weight)


# What the backward pass does with Ω off too.
BESIDE_FLOW = tuple(
    field.name
    for field in dataclasses.fields(Options)
    if field.name != "unroll" and not field.name.startswith("flow_")
)


class OptionKeywords(TypedDict, total=False):
    """The fields of :class:`Options`, as type checkers see the doors' arguments."""

    flow_weight: jax.typing.ArrayLike
    flow_form: FlowForm
    flow_slopes: FlowSlopes
    flow_reduction: FlowReduction
    flow_params: Any
    flow_groups: Any
    flow_fraction: float
    carry_clip: CarryClip | None
    truncate: int | None
    remat: bool
    unroll: int | None


# Where the options stand in a door's docstring; 3.13 strips the indentation.
_PLACE = re.compile(r"^( *)\*\*options: the fields of ``Options``\.\n", re.MULTILINE)


def takes_options(**differences: str) -> Callable[[_Door], _Door]:
    """Writes the options out in the signature and in the docstring of a door.

    Args:
      **differences: by the name of an option, what this door adds about it.

    Returns:
      A decorator of a function, or of a class and its ``__init__``, that takes the
      options by ``**options`` and whose docstring has a line for them.
    """

    def decorate(door: _Door) -> _Door:
        function: Any = vars(door)["__init__"] if isinstance(door, type) else door
        function.__signature__ = _written_out(inspect.signature(function))
        if door.__doc__ is not None:  # as under `python -OO`
            door.__doc__ = _PLACE.sub(partial(_entries, differences), door.__doc__)
        return door

    return decorate


def _written_out(signature: inspect.Signature) -> inspect.Signature:
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {p.name for p in named}
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.type,
        )
        for field in dataclasses.fields(Options)
        if field.name not in taken
    ]
    return signature.replace(parameters=[*named, *options])


def _entries(differences: dict[str, str], place: re.Match[str]) -> str:
    indent, entries = place[1], []
    for field in dataclasses.fields(Options):
        words = [f"{field.name}:", field.metadata["documentation"]]
        entry = " ".join([*words, *differences.get(field.name, "").split()])
        wrapped = textwrap.wrap(
            entry,
            88 - len(indent),
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        entries += [f"{indent}{line}\n" for line in wrapped]
    return "".join(entries)

"""What a run is, in words and numbers that a file can hold."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.choices import listed
from optax_ltd.experiments.parts.method_table import (
    FLOW_WORDS,
    MOMENTUM_SCHEDULES,
    NONE,
    OPTIMIZERS,
    PARTS,
)
from optax_ltd.experiments.parts.network_table import CELLS, INITS
from optax_ltd.experiments.parts.task_table import CRITERIA, tasks_with
from optax_ltd.experiments.parts.users import users

Length: TypeAlias = int | tuple[int, int]

# What a field holds of which the task judges the ranges.
_WITHOUT_RANGES: Mapping[Any, Any] = {Length: int, Length | None: int | None}

LARGEST = 2**30  # sums of two of them are still an int32


def _field(group: str, default: Any, help: str, **metadata: Any) -> Any:
    """A field of a group of options that are shown together."""
    told = {"group": group, "help": help, **metadata}
    return dataclasses.field(default=default, metadata=told)


def _range(allowed: str, is_allowed: Callable[[Any], bool]) -> dict[str, Any]:
    return {"allowed": allowed, "is_allowed": is_allowed}


def _users(field: str) -> str:
    return listed(users(field), "and")


def _flow_words(field: str, ending: str = "") -> str:
    return f"{listed(FLOW_WORDS[field])}{ending}."


_task, _method, _flow, _flossing, _optimizer, _network, _run = (
    partial(_field, group)
    for group in ("Task", "Method", "Ω", "Flossing", "Optimiser", "Network", "Run")
)
_NOT_NEGATIVE = _range("a finite number >= 0", lambda x: 0 <= x < math.inf)
_POSITIVE = _range("a finite number > 0", lambda x: 0 < x < math.inf)
_SHARE = _range("a number > 0 and <= 1", lambda x: 0 < x <= 1)
_BELOW_ONE = _range("a number >= 0 and < 1", lambda x: 0 <= x < 1)
_COUNT = _range(f"an int from 1 to {LARGEST}", lambda x: 1 <= x <= LARGEST)
_SEED = _range(f"an int from 0 to {LARGEST}", lambda x: 0 <= x <= LARGEST)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """All that decides what a run does; the options of ``optax-ltd train``.

    What the words may be stands with what they mean, in the tables of tasks, of methods
    and of networks.
    """

    task: str = _task("temporal_order", "The task.")
    length: int | tuple[int, int] = _task(
        50, "Length of the sequences, or a range such as 50-200."
    )
    test_length: int | tuple[int, int] | None = _task(
        None, "Length to test at, or a range, if not that of training."
    )
    grow_from: int | None = _task(
        None,
        "Begin with sequences no longer than this, and let them grow whenever every "
        "seed has once been good enough at the longest.",
        **_COUNT,
    )
    grow_factor: float = _task(
        2.0,
        "How many times as long they then are.",
        **_range("a finite number > 1", lambda x: 1 < x < math.inf),
    )
    grow_below: float = _task(
        0.01, "What is good enough: a smaller share of wrong answers.", **_SHARE
    )
    grow_rate: float = _task(
        1.0, "Factor of the learning rate whenever they grow.", **_SHARE
    )
    criterion: str | None = _task(
        None,
        f"In {listed(tasks_with('criterion'), 'and')}: the error that may be at most "
        f".04, {listed(CRITERIA)}, if not the task's own.",
    )
    solved_below: float | None = _task(
        None,
        "Share of wrong answers below which the task is solved, if not its own; .0001 "
        "is no error in 10,000.",
        **_SHARE,
    )
    centred: bool = _task(
        False, "Take the means of inputs and targets away, those of training."
    )
    text: str | None = _task(None, "Text file of the task text.")
    method: str = _method(
        "clip-norm+flow",
        f"{NONE}, or several of these, joined by +: "
        + "; ".join(f"{word} ({part.help})" for word, part in PARTS.items())
        + ".",
    )
    max_value: float = _method(
        1.0, f"Threshold of {_users('max_value')}.", **_NOT_NEGATIVE
    )
    max_norm: float = _method(
        1.0, f"Threshold of {_users('max_norm')}.", **_NOT_NEGATIVE
    )
    step_size: float = _method(
        1.0, f"Size of the step of {_users('step_size')}.", **_NOT_NEGATIVE
    )
    carry_max_norm: float = _method(
        1.0, f"Threshold of {_users('carry_max_norm')}, for each example.", **_POSITIVE
    )
    flow_weight: float = _flow(2.0, "Weight of Ω.", **_NOT_NEGATIVE)
    flow_decay: float = _flow(
        0.0,
        "Updates after which the weight of Ω has halved, as 1/t; 0 for never.",
        **_NOT_NEGATIVE,
    )
    flow_form: str = _flow("squared_ratio", _flow_words("flow_form"))
    flow_slopes: str = _flow(
        "moving",
        "Whether the gradient of Ω follows the slopes of the cell: "
        + _flow_words("flow_slopes"),
    )
    flow_reduction: str = _flow("mean", _flow_words("flow_reduction", ", over time"))
    flow_params: str = _flow(
        "recurrent", f"What Ω acts on: {_flow_words('flow_params')}"
    )
    flow_fraction: float = _flow(
        1.0, "Share of the time steps sampled for Ω.", **_SHARE
    )
    flossing_share: float = _flossing(
        75 / 80, "Share of the Lyapunov exponents, the largest, to floss.", **_SHARE
    )
    flossing_updates: int = _flossing(
        500, "Updates of a phase of flossing, beside those of training.", **_COUNT
    )
    flossing_every: int = _flossing(
        100, "Updates of training from one phase of flossing to the next.", **_COUNT
    )
    flossing_phases: int = _flossing(
        3, "Phases of flossing, the first of them before training.", **_COUNT
    )
    optimizer: str = _optimizer("sgd", f"{listed(OPTIMIZERS)}.")
    learning_rate: float = _optimizer(
        0.05, f"Constant step size of {_users('learning_rate')}.", **_NOT_NEGATIVE
    )
    momentum: float = _optimizer(
        0.9, f"Momentum coefficient of {_users('momentum')}.", **_BELOW_ONE
    )
    momentum_schedule: str = _optimizer(
        "constant",
        f"How {_users('momentum_schedule')} come to that momentum: "
        f"{listed(MOMENTUM_SCHEDULES)}.",
    )
    averaging: float = _optimizer(
        0.0,
        "Decay, an update, of a running average of the weights, which is then what is "
        "tested and kept; 0 for the weights themselves.",
        **_BELOW_ONE,
    )
    damping: float = _optimizer(
        0.1, f"First λ of {_users('damping')}, which follows the model.", **_POSITIVE
    )
    structural_damping: float = _optimizer(
        1 / 30,
        f"μ of {_users('structural_damping')}, the damping of hidden states; 0 for "
        "none.",
        **_NOT_NEGATIVE,
    )
    curvature_batch_size: int | None = _optimizer(
        None,
        f"Of the sequences in one update, those that {_users('curvature_batch_size')} "
        "takes the curvature of, if not all.",
        **_COUNT,
    )
    cell: str = _network("tanh", f"{listed(CELLS)}.")
    forget_bias: float = _network(
        0.0,
        f"Initial bias of the forget gates of {_users('forget_bias')}.",
        **_range("a finite number", math.isfinite),
    )
    init: str = _network("basic_tanh", f"Initial weights: {listed(INITS)}.")
    input_scale: float | None = _network(
        None,
        "Standard deviation of the weights from the input, if not that of the initial "
        "weights.",
        **_NOT_NEGATIVE,
    )
    hidden_size: int = _network(50, "Recurrent units.", **_COUNT)
    batch_size: int = _run(20, "Sequences in one update.", **_COUNT)
    updates: int = _run(10_000, "Updates at most.", **_COUNT)
    test_every: int = _run(250, "Updates from one test to the next.", **_COUNT)
    test_size: int = _run(10_000, "Fresh sequences in one test.", **_COUNT)
    seeds: int = _run(3, "Networks trained together.", **_COUNT)
    first_seed: int = _run(0, "Seed of the first of them.", **_SEED)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _checked(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest to train at."""
        return _ends(self.length)

    @property
    def test_lengths(self) -> tuple[int, int]:
        """The shortest and the longest to test at."""
        return self.lengths if self.test_length is None else _ends(self.test_length)

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The config that has these fields, and defaults for the rest.

        Args:
          values: what a file held.

        Raises:
          InputError: if a field is unknown or its value of the wrong type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, n=1)
            meant = f"; did you mean `{near[0]}`?" if near else "."
            raise InputError(
                "a config must have the fields that --save-config writes, and no "
                f"others; got `{unknown[0]}`{meant}"
            )
        return cls(**values)


def _ends(length: Length) -> tuple[int, int]:
    return length if isinstance(length, tuple) else (length, length)


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """A field's value in its own type."""
    kinds: Any = _WITHOUT_RANGES.get(field.type, field.type)
    if kinds != field.type and isinstance(value, list | tuple):
        return tuple(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and kinds in (float, float | None):
        value = float(value)
    # A bool is an int of Python.
    if not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool):
        raise refusal(field.name, _kind(kinds), repr(value))
    is_allowed = None if value is None else field.metadata.get("is_allowed")
    if is_allowed is not None and not is_allowed(value):
        raise refusal(field.name, field.metadata["allowed"], f"{value}")
    return value


def _kind(kinds: Any) -> str:
    names = {int: "an int", float: "a number", str: "a word", bool: "true or false"}
    return names.get(kinds, f"{kinds}".replace("None", "null"))

"""The ways to train that are compared, and the runs of each."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.method_table import NONE, OPTIMIZERS, PARTS

# Of the two papers; 100 is where clip and Ω had not solved numbers and long strings.
LENGTHS: Mapping[str, tuple[int, ...]] = {
    "addition": (80, 100),
    "multiplication": (80,),
    "memorization_5bit": (50, 200),
    "memorization_20bit": (80, 100),
    "temporal_order": (100,),
    "xor": (50,),
}
NUMBERS = ("addition", "multiplication")
STRINGS = ("memorization_5bit", "memorization_20bit")


class Way(NamedTuple):
    """One way to train.

    Attributes:
      label: What tables and pictures call it.
      fields: Of a config: what it asks for.
      of_task: What it asks for beside, by the task.
      share: The budget's updates are divided by this, as each does so much more.
    """

    label: str
    fields: Mapping[str, Any]
    of_task: Callable[[str], Mapping[str, Any]] = lambda _: {}
    share: int = 1

    @property
    def is_known(self) -> bool:
        """Whether a run can be asked for it."""
        known = {field.name for field in dataclasses.fields(Config)}
        words = set(self.fields["method"].split("+"))
        optimizer = self.fields.get("optimizer", "sgd")
        return (
            known >= set(self.fields)
            and words <= {NONE, *PARTS}
            and optimizer in OPTIMIZERS
        )


def _recipe(task: str) -> Mapping[str, Any]:
    """Weights from the input are small where most inputs tell nothing."""
    if task in STRINGS:
        return {"input_scale": 0.1, "learning_rate": 0.01}
    return {"input_scale": 0.001, "learning_rate": 0.001}


_ORTHOGONAL = {"init": "orthogonal", "learning_rate": 0.05}
_HESSIAN_FREE = {"method": NONE, "optimizer": "hessian_free", "init": "sparse"}

CLIP = Way("SGD + clip", {"method": "clip-norm", **_ORTHOGONAL})
FLOW = Way("SGD + clip + Ω", {"method": "clip-norm+flow", **_ORTHOGONAL})
FLOSSING = Way("SGD + clip + flossing", {"method": "clip-norm+flossing", **_ORTHOGONAL})
NESTEROV = Way(
    "Nesterov, the recipe",
    {
        "method": NONE,
        "optimizer": "nesterov",
        "momentum": 0.995,
        "momentum_schedule": "hold",
        "init": "sparse",
        "centred": True,
    },
    _recipe,
)
HESSIAN_FREE = Way(
    "Hessian-free", _HESSIAN_FREE | {"structural_damping": 0.0}, share=100
)
STRUCTURAL = Way(
    "Hessian-free, structural damping",
    _HESSIAN_FREE | {"structural_damping": 1 / 30},
    share=100,
)
LSTM = Way(
    "LSTM, SGD",
    {"method": NONE, "cell": "lstm", "init": "orthogonal", "learning_rate": 0.5},
)

# Without those that a run cannot be asked for yet.
WAYS: Mapping[str, Way] = {
    name: way
    for name, way in {
        "clip": CLIP,
        "clip-flow": FLOW,
        "clip-flossing": FLOSSING,
        "nesterov": NESTEROV,
        "hessian-free": HESSIAN_FREE,
        "structural": STRUCTURAL,
        "lstm": LSTM,
    }.items()
    if way.is_known
}


def configs(updates: int) -> dict[str, Config]:
    """The runs by name, task by task.

    Args:
      updates: of each, at most.
    """
    return {
        f"{task}-{length}-{name}": _config(way, task, length, updates)
        for task, lengths in LENGTHS.items()
        for length in lengths
        for name, way in WAYS.items()
    }


def _config(way: Way, task: str, length: int, updates: int) -> Config:
    shared = {
        "task": task,
        "length": length,
        "criterion": "absolute" if task in NUMBERS else None,
        "hidden_size": 100,
        "batch_size": 100,
        "updates": max(1, updates // way.share),
        "test_every": max(1, 1000 // way.share),
        "seeds": 5,
    }
    return Config.from_dict({**shared, **way.fields, **way.of_task(task)})


def way_of(config: Config) -> Way:
    """The way that a run was trained.

    Args:
      config: one that `configs` returned, of whatever budget.
    """
    return next(
        way
        for way in WAYS.values()
        if all(getattr(config, field) == x for field, x in way.fields.items())
    )

"""The ways to train that are compared, and the runs of each."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from optax_ltd.experiments.parts.config import LARGEST, Config
from optax_ltd.experiments.parts.method_table import NONE
from optax_ltd.experiments.parts.problem import make_test_task
from optax_ltd.experiments.studies import growing
from optax_ltd.experiments.training.run import Run

# Beyond it structural damping is said to matter.
LONG = 50
# Within those of the two papers.
LENGTHS: Mapping[str, tuple[int, ...]] = {
    "addition": (100,),
    "memorization_20bit": (100,),
    "temporal_order": (100,),
    "xor": (50,),
    "memorization_5bit": (50, 200),
    "multiplication": (80,),
}
# Where Nesterov has published numbers at another length, it is run at that too.
PUBLISHED_LENGTHS: Mapping[str, tuple[int, ...]] = {
    "addition": (80,),
    "memorization_20bit": (80,),
}
NUMBERS = ("addition", "multiplication")
STRINGS = ("memorization_5bit", "memorization_20bit")


class Way(NamedTuple):
    """One way to train.

    Attributes:
      label: What tables and pictures call it.
      fields: Of a config: what it asks for.
      of_task: What it asks for beside, by the task.
      share: Its updates, over those of the budget: fewer, if each does so much more.
    """

    label: str
    fields: Mapping[str, Any]
    of_task: Callable[[str], Mapping[str, Any]] = lambda _: {}
    share: float = 1.0


def _careful_start(task: str) -> Mapping[str, Any]:
    """Weights from the input are small where most inputs tell nothing.

    With a spectral radius above 1 gradients are large at first, and a momentum of .995
    makes 200 of each step: at larger rates the hidden states come to a fixed point that
    no longer depends on the sequence. Of temporal order and xor the paper has nothing:
    these have what it gave numbers, with the next smaller of its momenta, as at .995
    temporal order was learned in the updates at .9 and then lost.
    """
    if task in STRINGS:
        return {"input_scale": 0.1, "learning_rate": 1e-4}
    careful = {"input_scale": 0.001, "learning_rate": 3e-6}
    return careful if task in NUMBERS else {**careful, "momentum": 0.98}


def _large_batches(task: str) -> Mapping[str, Any]:
    """Numbers begin as noise that only many sequences average away."""
    if task in NUMBERS:
        return {
            "batch_size": 4000,
            "curvature_batch_size": 250,
            "damping": 0.01,
            "centred": True,
        }
    if task in STRINGS:
        return {"batch_size": 500, "curvature_batch_size": 50, "centred": True}
    return {"batch_size": 1000, "curvature_batch_size": 250}


def _steps(task: str) -> Mapping[str, Any]:
    """A mean over time divides the gradient of a string by its many blanks.

    The last numbers come within .04 when steps are small, which they are once sequences
    have grown; so these grow before.
    """
    if task in STRINGS:
        return {"learning_rate": 0.1}
    return {"learning_rate": 0.03} | ({"grow_below": 0.1} if task in NUMBERS else {})


def _lstm_steps(task: str) -> Mapping[str, Any]:
    """Without a clip the squares of errors of numbers throw a larger step off."""
    return {"learning_rate": 0.1 if task in NUMBERS else 0.5}


_ORTHOGONAL = {"init": "orthogonal", "learning_rate": 0.05}
_HESSIAN_FREE = {
    "method": NONE,
    "optimizer": "hessian_free",
    "init": "sparse",
    "test_every": 2,
}

CLIP = Way("SGD + clip", {"method": "clip-norm", **_ORTHOGONAL})
FLOW = Way("SGD + clip + Ω", {"method": "clip-norm+flow", **_ORTHOGONAL})
GROWING = Way(
    "SGD + clip + Ω, growing",
    {
        **growing.GROWING,
        "flow_weight": 1.0,
        "grow_from": 10,
        "grow_rate": 0.6,
        "test_every": 250,
    },
    _steps,
)
FLOSSING = Way("SGD + clip + flossing", {"method": "clip-norm+flossing", **_ORTHOGONAL})
NESTEROV = Way(
    "Nesterov, careful start",
    {
        "method": NONE,
        "optimizer": "nesterov",
        "momentum": 0.995,
        "momentum_schedule": "hold",
        "init": "sparse",
        "centred": True,
        "batch_size": 100,
    },
    _careful_start,
    share=5.0,  # 50,000 of a budget of 10,000, as in the paper
)
HESSIAN_FREE = Way(
    "Hessian-free",
    _HESSIAN_FREE | {"structural_damping": 0.0},
    _large_batches,
    share=0.01,
)
STRUCTURAL = Way(
    "Hessian-free, structural damping",
    _HESSIAN_FREE | {"structural_damping": 1 / 30},
    _large_batches,
    share=0.01,
)
LSTM = Way(
    "LSTM, SGD",
    {
        "method": NONE,
        "cell": "lstm",
        "forget_bias": 3.0,
        "init": "orthogonal",
        "input_scale": 0.5,
    },
    _lstm_steps,
)

WAYS: Mapping[str, Way] = {
    "clip": CLIP,
    "clip-flow": FLOW,
    "growing": GROWING,
    "clip-flossing": FLOSSING,
    "nesterov": NESTEROV,
    "hessian-free": HESSIAN_FREE,
    "structural": STRUCTURAL,
    "lstm": LSTM,
}


def configs(updates: int) -> dict[str, Config]:
    """The runs by name, task by task.

    Args:
      updates: the budget, of which each way has its share.
    """
    by_all = _problems(LENGTHS, WAYS)
    by_nesterov = _problems(PUBLISHED_LENGTHS, ["nesterov"])
    return {
        f"{task}-{length}-{name}": _config(WAYS[name], task, length, updates)
        for task, length, name in by_all + by_nesterov
    }


def _problems(
    lengths: Mapping[str, tuple[int, ...]], names: Iterable[str]
) -> list[tuple[str, int, str]]:
    """Tasks and lengths, each with every name of a way."""
    pairs = [(task, length) for task, of in lengths.items() for length in of]
    return [(*pair, name) for pair in pairs for name in names]


def _config(way: Way, task: str, length: int, updates: int) -> Config:
    shared = {
        "task": task,
        "length": length,
        "criterion": "absolute" if task in NUMBERS else None,
        "hidden_size": 100 if task in STRINGS else 50,
        "batch_size": 20,
        "updates": min(max(1, round(way.share * updates)), LARGEST),
        "test_every": 1000,
        "seeds": 5,
    }
    return Config.from_dict({**shared, **way.fields, **way.of_task(task)})


def way_of(name: str) -> Way:
    """The way that a run was trained.

    Args:
      name: of one of `configs`.
    """
    return WAYS[name.split("-", 2)[2]]


def is_long_string(task: str, length: int) -> bool:
    """Whether it is memorization over more than `LONG` steps.

    Args:
      task: its word in a config.
      length: T.
    """
    return task in STRINGS and length > LONG


def by_problem(runs: Mapping[str, Run]) -> dict[tuple[str, int], dict[str, Run]]:
    """The runs of each task and length, by the label of their way.

    Args:
      runs: of the study, by name.
    """
    made: dict[tuple[str, int], dict[str, Run]] = {}
    for name, run in runs.items():
        problem = run.config.task, run.config.lengths[1]
        made.setdefault(problem, {})[way_of(name).label] = run
    return made


def title(task: str, length: int) -> str:
    """A problem as tables call it.

    Args:
      task: its word in a config.
      length: T.
    """
    return f"{make_test_task(Config(task=task, length=length)).name}, T = {length}"

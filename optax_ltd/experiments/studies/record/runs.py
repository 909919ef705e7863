"""The recipe, its changes, and the runs of each."""

from collections.abc import Mapping
from typing import Any

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies.growing import GROWING

LENGTHS = (200, 500, 1000, 2000, 5000, 10_000)
NEAR = LENGTHS[:3]
GOOD = 0.01  # of answers may be wrong where a memory is said to hold
LONG, SHORT = 1000, 200
# What a config has by its length. From 50 steps up stages are even, for each lowers the
# learning rate alike.
_BY_LENGTH: Mapping[int, Mapping[str, Any]] = {
    SHORT: {"grow_factor": 2.0, "flow_weight": 4.0},
    LONG: {"grow_factor": 20 ** (1 / 4), "flow_weight": 16.0, "batch_size": 20},
}
_SHORT_SHARE = 2  # each run at the shorter length gets this part of the updates

# Seeds that no part of the recipe was chosen by.
_FRESH = {"first_seed": 300}

# What pictures call each of these, and what it changes of the recipe.
CHANGES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "no-flow": ("no Ω", {"method": "clip-value"}),
    "weak-flow": ("Ω of a tenth of the weight", {"flow_weight": 0.4}),
    "held-slopes": ("Ω with held slopes", {"flow_slopes": "held"}),
    "flossing": ("flossing, no Ω", {"method": "clip-value+flossing"}),
    "no-clip": ("no clip", {"method": "flow"}),
    "no-growth": ("no growth", {"grow_from": None}),
    "no-averaging": ("no averaging", {"averaging": 0.0}),
    "small-batches": ("batches of 20", {"batch_size": 20}),
    "lstm": (
        "LSTM, SGD",
        {"method": "clip-value", "cell": "lstm", "forget_bias": 3.0},
    ),
}

# Does a network hold what it remembers at lengths it has not learned? By start, each
# trained on until it once makes no error in 10,000.
FAULTLESS: Mapping[str, tuple[str, dict[str, Any]]] = {
    f"faultless-{name}": (label, {**changes, "batch_size": 20, "solved_below": 1e-4})
    for name, (label, changes) in {
        "orthogonal": ("orthogonal start", {}),
        "basic-tanh": ("basic tanh start", {"init": "basic_tanh"}),
        "latching": ("start of latches", {"init": "latching"}),
        "weak-flow": (
            "start of latches, Ω of a tenth",
            {"init": "latching", "flow_weight": 0.4},
        ),
        "no-flow": (
            "start of latches, no Ω",
            {"init": "latching", "method": "clip-value"},
        ),
    }.items()
}


def _recipe(length: int, updates: int, **changes: Any) -> Config:
    recipe = {
        "length": (10, length),
        "test_length": length,
        "grow_from": 50,
        "grow_rate": 0.45,
        "learning_rate": 0.03,
        "updates": updates,
        "seeds": 5,
    }
    return Config.from_dict({**GROWING, **recipe, **_BY_LENGTH[length], **changes})


def configs(updates: int) -> dict[str, Config]:
    """The runs by name.

    Args:
      updates: of the longer ones, at most.
    """
    short = max(1, updates // _SHORT_SHARE)
    return {
        f"{LONG}": _recipe(LONG, updates),
        f"{LONG}-fresh": _recipe(LONG, updates, **_FRESH),
        f"{SHORT}": _recipe(SHORT, short),
        f"{SHORT}-fresh": _recipe(SHORT, short, **_FRESH),
        f"{SHORT}-held-slopes-fresh": _recipe(
            SHORT, short, **_FRESH, **CHANGES["held-slopes"][1]
        ),
        "3bit": _recipe(SHORT, short, task="temporal_order_3bit"),
        **{
            f"{SHORT}-{name}": _recipe(SHORT, short, **changes)
            for name, (_, changes) in {**CHANGES, **FAULTLESS}.items()
        },
    }


# What pictures and tables call the runs at the shorter length.
LABELS = {
    f"{SHORT}": "the recipe",
    f"{SHORT}-fresh": "fresh seeds",
    f"{SHORT}-held-slopes-fresh": "fresh seeds, Ω with held slopes",
    **{f"{SHORT}-{name}": label for name, (label, _) in CHANGES.items()},
    "3bit": "3-bit order",
}
FAULTLESS_LABELS = {f"{SHORT}-{name}": label for name, (label, _) in FAULTLESS.items()}

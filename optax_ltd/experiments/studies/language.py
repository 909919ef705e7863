"""Characters of a text, where what is redundant needs no long memory."""

import dataclasses
import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_ltd import plots, tasks
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells, markdown
from optax_ltd.experiments.studies.study import Runs, Study

# What tables call a network, and its fields of a config.
_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh-.05": ("tanh, SGD", {"method": "none", "learning_rate": 0.05}),
    "tanh": ("tanh, SGD", {"method": "none"}),
    "tanh-clip": ("tanh, SGD + clip", {"method": "clip-norm"}),
    "tanh-clip-flow": (
        "tanh, SGD + clip + Ω",
        {"method": "clip-norm+flow", "flow_decay": 1000.0},
    ),
    "lstm": ("LSTM, SGD", {"cell": "lstm", "method": "none"}),
    "lstm-2": ("LSTM, SGD", {"cell": "lstm", "method": "none", "learning_rate": 2.0}),
}
_LEARNING_RATE = 0.5  # unless told otherwise
# Of Pascanu et al., table 1, in bits for the next character.
_PUBLISHED = {
    "tanh, SGD": "1.50",
    "tanh, SGD + clip": "1.42",
    "tanh, SGD + clip + Ω": "1.41",
}


def _configs(updates: int) -> dict[str, Config]:
    shared = Config(
        task="text",
        length=100,
        init="orthogonal",
        learning_rate=_LEARNING_RATE,
        updates=updates,
        test_every=500,
        test_size=1000,
        hidden_size=100,
        flow_weight=0.5,
        seeds=3,
    )
    return {
        name: dataclasses.replace(shared, **options)
        for name, (_, options) in _NETWORKS.items()
    }


def _figure(runs: Runs) -> Figure:
    curves = {
        _label(name, run.config): (
            np.array([e.update for e in run.evaluations]),
            np.stack([_bits(e.test_loss) for e in run.evaluations]),
        )
        for name, run in runs.items()
    }
    label = "bits per character, text held out"
    characters = tasks.text(length=1).output_size
    return plots.loss_curves(curves, label=label, top=math.log2(characters))


def _label(name: str, config: Config) -> str:
    title, rate = _NETWORKS[name][0], config.learning_rate
    return title if rate == _LEARNING_RATE else f"{title}, rate {rate:g}"


def _table(runs: Runs) -> str:
    rows = []
    for name, run in runs.items():
        last = run.evaluations[-1]
        rows.append(
            [
                _NETWORKS[name][0],
                f"{run.config.learning_rate:g}",
                f"{run.update:,}",
                cells.each(_bits(last.train_loss), 2),
                cells.each(_bits(last.test_loss), 2),
                cells.mean(_bits(last.test_loss), 2),
                _PUBLISHED.get(_NETWORKS[name][0], "–"),
            ]
        )
    heads = ["network", "learning rate", "updates", "training", "held out"]
    heads += ["mean", "paper, held out"]
    return markdown.table(heads, rows)


def _bits(loss: np.ndarray) -> np.ndarray:
    return loss / math.log(2)


def _finding(runs: Runs) -> str:
    held_out = {
        _label(name, run.config): float(np.median(_bits(run.evaluations[-1].test_loss)))
        for name, run in runs.items()
    }
    ranked = sorted(held_out, key=lambda label: np.nan_to_num(held_out[label], nan=1e9))
    told = "; ".join(f"{label} {held_out[label]:.2f}" for label in ranked)
    is_lstm = ["LSTM" in label for label in ranked if "LSTM" in label or "Ω" in label]
    if len(set(is_lstm)) < 2:
        verdict = "the two have not both been run here yet"
    else:
        verdict = "so it is here" if is_lstm[0] else "not so here, at this budget"
    return (
        f"Bits per character on text held out, median of the seeds: {told}. "
        "Goodfellow, Bengio and Courville (2016, section 10.11) say that an LSTM needs "
        "only plain SGD, and that on redundant data such as language it does better "
        f"than Ω; {verdict}."
    )


LANGUAGE = Study(
    title="Characters of text: tanh with and without Ω against an LSTM",
    configs=_configs,
    figure=_figure,
    alt="Bits per character of held-out text during training, by network and method.",
    finding=_finding,
    table=_table,
    protocol=(
        ("budget", "{budget}", "not reported"),
        ("text", "sources of Python's standard library", "Penn Treebank"),
    ),
    remarks=(
        "Bits per character, so the paper's numbers are no measure for these. 100 "
        "units, windows of 100 characters, clip at 1. The weight of Ω begins at .5, is "
        "half that after 1,000 updates and falls on as 1/t; the paper too found that a "
        "constant one harms. LSTM and plain tanh were given two learning rates, clip "
        "and Ω one. The picture ends at the bits of a model to which all "
        "characters are alike."
    ),
)

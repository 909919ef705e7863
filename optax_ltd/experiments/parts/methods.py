"""The method of a run: what becomes of a gradient."""

from typing import Any

import jax
import optax

import optax_ltd as ltd
from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.choices import choose
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.method_table import (
    FLOW_WORDS,
    MOMENTUM_SCHEDULES,
    NONE,
    OPTIMIZERS,
    PARTS,
)


def parts(config: Config) -> list[str]:
    """What a method is a mix of.

    Args:
      config: of the run.

    Raises:
      InputError: if a part is unknown or named twice.
    """
    if config.method == NONE:
        return []
    words = config.method.split("+")
    for word in words:
        choose("method", word, {NONE: None, **PARTS})
    if NONE in words or len(set(words)) < len(words):
        told = "none, or name each of its parts once"
        raise refusal("method", told, repr(config.method))
    return words


def title(config: Config) -> str:
    """What tables and pictures call the method of a run.

    Args:
      config: of the run.
    """
    optimizer = choose("optimizer", config.optimizer, OPTIMIZERS)
    return " + ".join([optimizer.title, *(PARTS[word].title for word in parts(config))])


def make_optimizer(config: Config, key: jax.Array) -> optax.GradientTransformation:
    """The optimiser of a run behind the guards of its method.

    Args:
      config: of the run.
      key: of the random steps; a state begun with another draws others.

    Raises:
      InputError: if optimiser, method or schedule are unknown.
    """
    named = parts(config)
    makers = [
        (row.guard, [getattr(config, field) for field in row.fields])
        for word, row in PARTS.items()
        if word in named and row.guard
    ]
    guards = [
        make(jax.random.fold_in(key, i), *values)
        for i, (make, values) in enumerate(makers)
    ]
    # A clip that never clips still counts what is not finite.
    watched = guards or [ltd.clip_by_global_norm(float("inf"))]
    optimizer = choose("optimizer", config.optimizer, OPTIMIZERS)
    if optimizer.searches and named:
        # Its model is of the loss, and a gradient of something else does not fit.
        told = f"{NONE} with optimizer {config.optimizer}"
        raise refusal("method", told, repr(config.method))
    choose("momentum_schedule", config.momentum_schedule, MOMENTUM_SCHEDULES)
    asked = {
        name: getattr(config, name) for name in optimizer.fields + optimizer.shared
    }
    return optax.chain(*watched, optimizer.make(**asked))


def flow_options(config: Config) -> dict[str, Any]:
    """What a method asks of `optax_ltd.FlowRNN`.

    Args:
      config: of the run.

    Raises:
      InputError: if the method or a word for Ω is unknown.
    """
    named = parts(config)
    for field, words in FLOW_WORDS.items():
        choose(field, getattr(config, field), dict.fromkeys(words))
    clip = ltd.clip_carry_gradient(max_norm=config.carry_max_norm)
    return {
        "flow_weight": config.flow_weight if "flow" in named else 0.0,
        "flow_form": config.flow_form,
        "flow_slopes": config.flow_slopes,
        "flow_reduction": config.flow_reduction,
        "flow_params": config.flow_params,
        "flow_fraction": config.flow_fraction,
        "carry_clip": clip if "carry-clip" in named else None,
    }

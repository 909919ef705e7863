"""The training methods that an experiment compares: what becomes of a gradient."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import optax

import optax_ltd as ltd
from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.choices import choose
from optax_ltd.experiments.parts.config import Config

# In the order in which a gradient meets them.
_GUARDS: Mapping[str, Callable[[Config, jax.Array], optax.GradientTransformation]] = {
    "random-step": lambda config, key: ltd.nonfinite_random_step(
        config.step_size, key=key
    ),
    "clip-value": lambda config, _: ltd.clip_by_value(config.max_value),
    "clip-norm": lambda config, _: ltd.clip_by_global_norm(config.max_norm),
    "clip-random": lambda config, key: ltd.clip_by_global_norm(
        config.max_norm, above="random_step", key=key
    ),
}
_OPTIMIZERS: Mapping[str, Callable[[Config], optax.GradientTransformation]] = {
    "sgd": lambda config: optax.sgd(config.learning_rate),
    "momentum": lambda config: optax.sgd(config.learning_rate, config.momentum),
    "nesterov": lambda config: optax.sgd(
        config.learning_rate, config.momentum, nesterov=True
    ),
    "adam": lambda config: optax.adam(config.learning_rate),
    "rmsprop": lambda config: optax.rmsprop(config.learning_rate),
}
_TITLES = {
    "clip-value": "clip by value",
    "clip-norm": "clip",
    "clip-random": "random step above",
    "random-step": "random step",
    "flow": "Ω",
    "carry-clip": "carry clip",
}
# What the words for Ω may be.
_FLOW_WORDS: Mapping[str, tuple[str, ...]] = {
    "flow_form": ("ratio", "squared_ratio"),
    "flow_reduction": ("sum", "mean"),
    "flow_params": ("all", "recurrent"),
}
NONE = "none"

# Fields of a config that only these parts of a method, or optimisers, make use of.
_USED_BY: Mapping[str, tuple[str, ...]] = {
    "max_value": ("clip-value",),
    "max_norm": ("clip-norm", "clip-random"),
    "step_size": ("random-step",),
    "carry_max_norm": ("carry-clip",),
    "flow_weight": ("flow",),
    "flow_decay": ("flow",),
    "flow_form": ("flow",),
    "flow_reduction": ("flow",),
    "flow_params": ("flow",),
    "flow_fraction": ("flow",),
    "momentum": ("momentum", "nesterov"),
}


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
        choose("method", word, {NONE: None, **_TITLES})
    if NONE in words or len(set(words)) < len(words):
        raise InputError(
            f"`method` must be none, or name each of its parts once; "
            f"got {config.method!r}",
            "method",
        )
    return words


def refuse_unused(config: Config, given: Iterable[str]) -> None:
    """Refuses what the user asked for and would not get.

    Args:
      config: of the run.
      given: the fields that the user gave.

    Raises:
      InputError: if its method or optimiser makes no use of one of them.
    """
    words = {*parts(config), config.optimizer}
    for field in given:
        users = _USED_BY.get(field)
        if users and not words.intersection(users):
            raise InputError(
                f"`{field}` is for {' and '.join(users)}; got method {config.method} "
                f"and optimizer {config.optimizer}",
                field,
            )


def title(config: Config) -> str:
    """What tables and pictures call the method of a run.

    Args:
      config: of the run.
    """
    name = {"sgd": "SGD", "rmsprop": "RMSProp"}.get(
        config.optimizer, config.optimizer.capitalize()
    )
    return " + ".join([name, *(_TITLES[part] for part in parts(config))])


def make_optimizer(config: Config, key: jax.Array) -> optax.GradientTransformation:
    """The optimiser of a run behind the guards of its method.

    Args:
      config: of the run.
      key: of the random steps; a state begun with another draws others.

    Raises:
      InputError: if optimiser or method are unknown.
    """
    named = parts(config)
    chosen = [guard for part, guard in _GUARDS.items() if part in named]
    guards = [
        guard(config, jax.random.fold_in(key, i)) for i, guard in enumerate(chosen)
    ]
    # A clip that never clips still counts what is not finite.
    watched = guards or [ltd.clip_by_global_norm(float("inf"))]
    optimizer = choose("optimizer", config.optimizer, _OPTIMIZERS)
    return optax.chain(*watched, optimizer(config))


def flow_options(config: Config) -> dict[str, Any]:
    """What a method asks of `optax_ltd.FlowRNN`.

    Args:
      config: of the run.

    Raises:
      InputError: if the method or a word for Ω is unknown.
    """
    named = parts(config)
    for field, words in _FLOW_WORDS.items():
        choose(field, getattr(config, field), dict.fromkeys(words))
    clip = ltd.clip_carry_gradient(max_norm=config.carry_max_norm)
    return {
        "flow_weight": config.flow_weight if "flow" in named else 0.0,
        "flow_form": config.flow_form,
        "flow_reduction": config.flow_reduction,
        "flow_params": config.flow_params,
        "flow_fraction": config.flow_fraction,
        "carry_clip": clip if "carry-clip" in named else None,
    }

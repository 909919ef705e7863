"""What a method and its optimiser may be, a row each."""

import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import optax

import optax_ltd as ltd
from optax_ltd._recurrent.options import (
    FlowForm,
    FlowReduction,
    FlowSlopes,
    NamedParams,
)


class Part(NamedTuple):
    """A part of a method.

    Attributes:
      title: What tables and pictures call it.
      help: What it does.
      fields: Of a config: those that not every run makes use of, but this one does.
      guard: From a key and the values of these fields, what a gradient meets before
        the optimiser; None if the part is an option of the recurrent layer or has
        updates of its own.
    """

    title: str
    help: str
    fields: tuple[str, ...]
    guard: Callable[..., optax.GradientTransformation] | None = None


class Optimizer(NamedTuple):
    """An optimiser.

    Attributes:
      title: What tables and pictures call it.
      make: From fields of a config by name, the optimiser.
      fields: As of `Part`.
      shared: Fields that every run makes use of, and this too.
      searches: Whether an update is a search, longer for one seed than for another.
    """

    title: str
    make: Callable[..., optax.GradientTransformation]
    fields: tuple[str, ...] = ("learning_rate",)
    shared: tuple[str, ...] = ()
    searches: bool = False


# In the order in which a gradient meets them.
PARTS: Mapping[str, Part] = {
    "random-step": Part(
        "random step",
        "a random step at Inf or NaN",
        ("step_size",),
        lambda key, size: ltd.nonfinite_random_step(size, key=key),
    ),
    "clip-value": Part(
        "clip by value",
        "each entry bounded",
        ("max_value",),
        lambda _, most: ltd.clip_by_value(most),
    ),
    "clip-norm": Part(
        "clip",
        "the global norm bounded",
        ("max_norm",),
        lambda _, most: ltd.clip_by_global_norm(most),
    ),
    "clip-random": Part(
        "random step above",
        "a random step above that norm",
        ("max_norm",),
        lambda key, most: ltd.clip_by_global_norm(most, above="random_step", key=key),
    ),
    "flow": Part(
        "Ω",
        "the regulariser Ω",
        (
            "flow_weight",
            "flow_decay",
            "flow_form",
            "flow_slopes",
            "flow_reduction",
            "flow_params",
            "flow_fraction",
        ),
    ),
    "carry-clip": Part(
        "carry clip",
        "the error signal bounded at each step back",
        ("carry_max_norm",),
    ),
    "flossing": Part(
        "flossing",
        "Lyapunov exponents driven to 0, before training and now and then",
        (
            "flossing_share",
            "flossing_updates",
            "flossing_every",
            "flossing_phases",
        ),
    ),
}
NONE = "none"  # what a method without parts is called

# How the momentum comes to be what it is in the end.
MOMENTUM_SCHEDULES: Mapping[str, Callable[[float], optax.ScalarOrSchedule]] = {
    "constant": lambda momentum: momentum,
    "hold": ltd.momentum_schedule,
    "rise": partial(ltd.momentum_schedule, kind="rise"),
}


def _sgd(
    *, learning_rate: float, momentum: float, momentum_schedule: str, nesterov: bool
) -> optax.GradientTransformation:
    """SGD with a momentum that follows a schedule of this name."""
    scheduled = MOMENTUM_SCHEDULES[momentum_schedule](momentum)
    if callable(scheduled):
        # Else its state would hold the learning rate, from one stage to the next.
        inject = optax.inject_hyperparams(optax.sgd, static_args="learning_rate")
        return inject(learning_rate, scheduled, nesterov)
    return optax.sgd(learning_rate, scheduled, nesterov)


def _hessian_free(
    *,
    damping: float,
    structural_damping: float,
    curvature_batch_size: int | None,
    cell: str,
) -> optax.GradientTransformation:
    """Hessian-free, with the distance between hidden states that suits their range."""
    del curvature_batch_size  # It is handed functions of that batch.
    return ltd.hessian_free(
        damping,
        structural_damping=structural_damping,
        hidden_distance="cross_entropy" if cell == "sigmoid" else "squared",
    )


_MOMENTUM_FIELDS = ("learning_rate", "momentum", "momentum_schedule")

OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": Optimizer("SGD", optax.sgd),
    "momentum": Optimizer("Momentum", partial(_sgd, nesterov=False), _MOMENTUM_FIELDS),
    "nesterov": Optimizer("Nesterov", partial(_sgd, nesterov=True), _MOMENTUM_FIELDS),
    "adam": Optimizer("Adam", optax.adam),
    "rmsprop": Optimizer("RMSProp", optax.rmsprop),
    "hessian_free": Optimizer(
        "Hessian-free",
        _hessian_free,
        ("damping", "structural_damping", "curvature_batch_size"),
        shared=("cell",),
        searches=True,
    ),
}

# What the fields of "flow" that hold a word may hold.
FLOW_WORDS: Mapping[str, tuple[str, ...]] = {
    "flow_form": typing.get_args(FlowForm),
    "flow_slopes": typing.get_args(FlowSlopes),
    "flow_reduction": typing.get_args(FlowReduction),
    "flow_params": typing.get_args(NamedParams),
}

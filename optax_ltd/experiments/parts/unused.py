"""What was asked of a run that it would make no use of."""

from collections.abc import Iterable

from optax_ltd.experiments.input_error import refusal
from optax_ltd.experiments.parts.choices import listed
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import parts
from optax_ltd.experiments.parts.users import users


def refuse_unused(config: Config, given: Iterable[str]) -> None:
    """Refuses what the user asked for and would not get.

    Args:
      config: of the run.
      given: the fields that the user gave.

    Raises:
      InputError: if its method, optimiser and cell make no use of one of them, or it
        does not grow.
    """
    growing = {"grow_factor", "grow_below", "grow_rate"}.intersection(given)
    if growing and config.grow_from is None:
        told = "left out where sequences do not grow"
        raise refusal(min(growing), told, "no length to grow from")
    if "grow_rate" in growing and config.optimizer not in users("learning_rate"):
        told = "left out where there is no learning rate"
        raise refusal("grow_rate", told, f"optimizer {config.optimizer}")
    words = {*parts(config), config.optimizer, config.cell}
    for field in given:
        using = users(field)
        if using and not words.intersection(using):
            raise refusal(
                field,
                f"left out without {listed(using)}",
                f"method {config.method}, optimizer {config.optimizer} and cell "
                f"{config.cell}",
            )

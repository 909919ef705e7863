"""Sequences that grow as the network learns: a run in stages."""

import dataclasses
from functools import cache

from optax_ltd.experiments.input_error import InputError, refusal
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_task, make_test_task


@cache
def stages(config: Config) -> tuple[Config, ...]:
    """A run at each of the lengths that it grows through, one after another.

    Args:
      config: of the run.

    Returns:
      Configs that differ in lengths and learning rates: the longest sequences are
      ``grow_from`` steps long, then ``grow_factor`` times as long as before, and at
      last as long as the run asks for. Each stage but the last is tested at its own
      longest length. Without ``grow_from`` it is the config alone.
    """
    shortest, longest = config.lengths
    made: list[Config] = []
    if config.grow_from is not None:
        is_range, length = shortest < longest, config.grow_from
        while length < longest:
            made.append(
                dataclasses.replace(
                    config,
                    length=(shortest, length) if is_range else length,
                    test_length=length,
                    grow_from=None,
                    learning_rate=_rate(config, len(made)),
                )
            )
            grown = min(length * config.grow_factor, longest)
            length = max(length + 1, round(grown))
    last = dataclasses.replace(config, learning_rate=_rate(config, len(made)))
    return (*made, last)


def check_growth(config: Config) -> None:
    """Judges the lengths that a run grows through.

    Args:
      config: of the run; its own length has been judged.

    Raises:
      InputError: if the first is not between its shortest and its longest, or the task
        does not have all of them.
    """
    first, (shortest, longest) = config.grow_from, config.lengths
    if first is None:
        return
    least = shortest if shortest < longest else 1
    if not least <= first < longest:
        told = f"from {least} to below the longest length, {longest}"
        raise refusal("grow_from", told, f"{first}")
    for stage in stages(config)[:-1]:
        try:
            make_task(stage)
            make_test_task(stage)
        except InputError as error:
            told = "a length of the task, as are all that follow from it"
            missing = stage.lengths[1]
            came = f"{first}" if missing == first else f"{first}, whence {missing}"
            why = str(error).rstrip(".")
            raise refusal("grow_from", told, f"{came} ({why})") from error


def _rate(config: Config, stage: int) -> float:
    return config.learning_rate * config.grow_rate**stage

"""Sequences that grow as the network learns: a run in stages."""

import dataclasses

from optax_ltd.experiments.parts.config import Config


def stages(config: Config) -> list[Config]:
    """A run at each of the lengths that it grows through, one after another.

    Args:
      config: of the run.

    Returns:
      Configs that differ in lengths and learning rates: the longest sequences are
      ``grow_from`` steps long, then ``grow_factor`` times as long as before, and at
      last as long as the run asks for. Before that the network is tested at the
      longest. Without ``grow_from`` it is the config alone.
    """
    shortest, longest = config.lengths
    made: list[Config] = []
    if config.grow_from is not None:
        is_range = shortest < longest
        length = max(config.grow_from, shortest) if is_range else config.grow_from
        while length < longest:
            made.append(
                dataclasses.replace(
                    config,
                    length=(shortest, length) if is_range else length,
                    test_length=length,
                    learning_rate=_rate(config, len(made)),
                )
            )
            length = max(length + 1, round(length * config.grow_factor))
    last = dataclasses.replace(config, learning_rate=_rate(config, len(made)))
    return [*made, last]


def _rate(config: Config, stage: int) -> float:
    return config.learning_rate * config.grow_rate**stage

"""What a run is about, in two lines."""

from optax_ltd.experiments.parts.setup import Setup


def headline(setup: Setup) -> str:
    """Task, network, budget, and what counts as solved, in the markup of Rich.

    Args:
      setup: of the run, or of one of several that differ in their methods.
    """
    config, task = setup.config, setup.test_task
    lengths = _told(config.lengths)
    grown = f" growing from {config.grow_from}" if config.grow_from else ""
    tested = f", tested at {_told(config.test_lengths)}" if config.test_length else ""
    first, last = config.first_seed, config.first_seed + config.seeds - 1
    seeds = f"seeds {first} to {last} together" if first < last else f"seed {first}"
    chance = f"by chance {task.chance_error:.0%} of answers are wrong"
    solved = (
        f"Solved: fewer than {100 * task.solved_below:g} % of {task.test_size:,} fresh "
        f"sequences wrong; {chance}."
        if task.solved_below
        else f"Nothing counts as solved; {chance}."
    )
    return (
        f"[bold]{task.name}[/], {lengths} steps{grown}{tested}; {config.hidden_size} "
        f"{config.cell} units, {seeds}, at most {config.updates:,} updates.\n{solved}"
    )


def _told(lengths: tuple[int, int]) -> str:
    shortest, longest = lengths
    return f"{shortest} to {longest}" if shortest < longest else f"{longest}"

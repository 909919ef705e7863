"""The pictures of an experiment."""

from collections.abc import Iterable, Mapping, Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

import optax_ltd as ltd
from optax_ltd import plots
from optax_ltd.experiments.parts.network import Network
from optax_ltd.experiments.studies import cells, intervals
from optax_ltd.experiments.training.run import Run
from optax_ltd.experiments.training.runner import Runner
from optax_ltd.tasks import Batch, Task

_FLOW_BATCH = 200


def error_curves(task: Task, runs: Mapping[str, Run]) -> Figure:
    """Draws the test errors of runs of one task.

    Args:
      task: that was tested on.
      runs: by what the picture shall call them.
    """
    curves = {
        name: (
            np.array([e.update for e in run.evaluations]),
            np.stack([e.error for e in run.evaluations]),
        )
        for name, run in runs.items()
    }
    return plots.error_curves(
        curves, chance_error=task.chance_error, solved_below=task.solved_below
    )


def updates_to_solve(
    groups: Mapping[str, Mapping[str, Run]], *, growing: Mapping[str, Run] = {}
) -> Figure:
    """Draws after how many updates each seed first solved its task.

    Args:
      groups: by heading, runs by what the picture shall call them; each tested.
      growing: by heading, runs of which the lengths are shown that they grew through.
    """
    grown = {heading: _lengths(run) for heading, run in growing.items()}
    solved = {
        heading: {name: (run.solved_at, run.update) for name, run in runs.items()}
        for heading, runs in groups.items()
    }
    return plots.updates_to_solve(grown | solved)


def _lengths(run: Run) -> dict[str, tuple[list[int | None], int]]:
    """Updates after which each seed had first learned the lengths of a run."""
    return {
        f"T = {length:,}": (learned_at, run.update)
        for length, learned_at in run.learned_at.items()
    }


def success_rates(runs: Iterable[tuple[str, str, Run]]) -> Figure:
    """Draws the shares of seeds that solved their task against length.

    Args:
      runs: in ascending order of length; each behind the title of its panel and what
        the legend calls its method.
    """
    panels: dict[str, dict[str, list[plots.Rate]]] = {}
    for panel, method, run in runs:
        methods = panels.setdefault(panel, {})
        methods.setdefault(method, []).append(_rate(run))
    return plots.success_rates(panels, label="seeds that solved it,\nat any test, %")


def errors_by_cost(runs: Iterable[tuple[str, str, Run]]) -> Figure:
    """Draws the test errors of runs against the minutes of their updates.

    Of those a test has the share that it has of all updates. Tests of shorter sequences
    than the task's are left out, and those of a seed whose loss is NaN.

    Args:
      runs: each behind the title of its panel and what the legend calls its method.
    """
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for panel, method, run in runs:
        if run.is_growing:
            continue
        stage = run.evaluations[-1].stage
        tests = [test for test in run.evaluations if test.stage == stage]
        minutes = run.seconds / 60 / run.update
        panels.setdefault(panel, {})[method] = (
            minutes * np.array([test.update for test in tests]),
            np.stack([cells.unless_nan(test, test.error) for test in tests]),
        )
    return plots.error_panels(panels, x_label="minutes of all seeds' updates")


def errors_by_length(runs: Iterable[tuple[str, str, Run]]) -> Figure:
    """Draws how wrong trained networks are at each length that they were tested at.

    Args:
      runs: with tests at several lengths, each behind the title of its panel and what
        the legend calls it.
    """
    panels: dict[str, dict[str, tuple[list[int], np.ndarray]]] = {}
    for panel, name, run in runs:
        curve = list(run.reach), np.stack(list(run.reach.values()))
        panels.setdefault(panel, {})[name] = curve
    return plots.error_panels(panels, x_label="length T")


def _rate(run: Run) -> plots.Rate:
    """The share of seeds that solved the task, at the length of the tests."""
    seeds = run.config.seeds
    return plots.Rate(
        run.config.test_lengths[1],
        run.num_solved / seeds,
        *intervals.of_share(run.num_solved, seeds),
    )


def gradient_flow(runners: Sequence[Runner]) -> Figure:
    """Draws the first network's error signal along time, before and after training.

    Args:
      runners: of one task and the same networks.
    """
    task = runners[0].setup.task
    batch = task.sample(jax.random.key(0), _FLOW_BATCH)

    def loss_fn(network: Network, batch: Batch) -> jax.Array:
        return task.loss(network(batch), batch)

    networks = {"before training": runners[0].network(0, trained=False)}
    networks |= {f"after {r.run.title}": r.network(0) for r in runners}
    reports = {
        name: ltd.gradient_flow(loss_fn, network, batch)
        for name, network in networks.items()
    }
    return plots.gradient_flow(reports)

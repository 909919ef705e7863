"""The demo: three methods on one task that plain SGD cannot solve."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.methods import title
from optax_ltd.experiments.parts.setup import Setup, make_setup
from optax_ltd.experiments.studies import figures
from optax_ltd.experiments.terminal.headline import headline
from optax_ltd.experiments.terminal.interrupt import deferred_interrupt
from optax_ltd.experiments.terminal.progress import Bars
from optax_ltd.experiments.terminal.results_table import results_table
from optax_ltd.experiments.training.observer import train_observed
from optax_ltd.experiments.training.runner import Runner

# As in the record (`studies/record/`), but for one length, a clip by norm, batches of
# 20, and an eighth of the weight of Ω.
DEMO: Mapping[str, Any] = {
    "init": "orthogonal",
    "learning_rate": 0.03,
    "averaging": 0.995,
    "flow_weight": 0.5,
    "flow_reduction": "sum",
}
METHODS = ("none", "clip-norm", "clip-norm+flow")


def run_demo(config: Config, output: Path, console: Console) -> bool:
    """Trains with every method, then shows a table and writes two pictures.

    Ctrl-C ends the training at the next test, or where compiling ends; the table then
    shows what came out until then, if anything did.

    Args:
      config: The task and the budget.
      output: Folder of the pictures.
      console: Where progress and table go.

    Returns:
      Whether the demo came to its end.
    """
    setups = [make_setup(dataclasses.replace(config, method=m)) for m in METHODS]
    console.print(headline(setups[0]))
    console.print("All methods start from the same weights and see the same sequences.")
    runners: list[Runner] = []
    paths = output / "error_curves.png", output / "gradient_flow.png"
    try:
        with deferred_interrupt() as check_interrupt:
            _train(setups, runners, console, check_interrupt)
            runs = [runner.run for runner in runners]
            console.print(results_table(runs))
            curves = {run.title: run for run in runs}
            figures.error_curves(setups[0].test_task, curves).savefig(paths[0])
            # Without plain SGD: what is compared is the clip with and without Ω.
            figures.gradient_flow(runners[1:]).savefig(paths[1])
    except KeyboardInterrupt:
        tested = [runner.run for runner in runners if runner.run.evaluations]
        if tested:
            console.print("\nInterrupted. What came out until then:")
            console.print(results_table(tested))
        else:
            console.print("\nInterrupted before the first test: nothing came out yet.")
        return False
    console.print(
        f"Wrote {paths[0]}\nWrote {paths[1]}, of seed {config.first_seed}",
        highlight=False,
        soft_wrap=True,
    )
    return True


def _train(
    setups: Sequence[Setup],
    runners: list[Runner],
    console: Console,
    check_interrupt: Callable[[], None],
) -> None:
    """Trains method after method, adding the runners to a list as they begin."""
    with Bars(console, [title(setup.config) for setup in setups]) as bars:
        for index, setup in enumerate(setups):
            runners.append(Runner(setup))
            train_observed(runners[-1], bars.observer(index, check_interrupt))

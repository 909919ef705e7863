"""What watches a run in training; whoever shows something to a user makes it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from optax_ltd.experiments.training.runner import Runner

# Called with a runner whenever it may be stopped: made, compiled, or done with a test.
# What it raises stops the run.
Observer: TypeAlias = Callable[[Runner], None]


class Watch(Protocol):
    """Makes observers, and tells of work that none can watch."""

    def run(self, heading: str, title: str) -> AbstractContextManager[Observer]:
        """A context in which one runner is made, trained and tested.

        Args:
          heading: which of several runs it is.
          title: of its method.
        """
        ...

    def work(self, told: str) -> AbstractContextManager[object]:
        """A context in which something else is done.

        Args:
          told: what.
        """
        ...


def train_observed(runner: Runner, observer: Observer) -> None:
    """Trains to the end, or until the observer raises.

    Args:
      runner: to be trained; a run that is over is only shown.
      observer: of the run.
    """
    observer(runner)
    if not runner.over:
        runner.compile()
        observer(runner)
        runner.train(after_test=lambda: observer(runner))

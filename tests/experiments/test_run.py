"""What is read off a run."""

import numpy as np

from optax_ltd import tasks
from optax_ltd.experiments import methods
from optax_ltd.experiments.run import Evaluation, Run
from optax_ltd.experiments.training import Settings

SETTINGS = Settings(tasks.temporal_order(10), seeds=2, updates=100)


def evaluation(update: int, *error: float) -> Evaluation:
    zeros = np.zeros(len(error))
    return Evaluation(update, zeros, np.array(error), zeros.astype(int))


def test_a_run_begins_with_nothing():
    run = Run(methods.CLIP, SETTINGS)
    assert (run.update, run.solved_at, run.done) == (0, [None, None], False)
    assert run.updates_per_second == 0


def test_solved_is_the_first_test_below_the_threshold():
    run = Run(methods.CLIP, SETTINGS)
    run.evaluations += [evaluation(10, 0.5, 0.01), evaluation(20, 0.009, 0.3)]
    assert (run.update, run.solved_at, run.done) == (20, [20, None], False)
    run.evaluations += [evaluation(30, 0.2, 0.0)]
    assert (run.solved_at, run.done) == ([20, 30], True)


def test_a_spent_budget_ends_a_run():
    run = Run(methods.CLIP, SETTINGS, [evaluation(100, 0.5, 0.5)], seconds=4.0)
    assert (run.solved_at, run.done) == ([None, None], True)
    assert run.updates_per_second == 25

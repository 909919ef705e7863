"""What is read off a run."""

import dataclasses
import json
import math

import numpy as np

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.run import Evaluation, Run

CONFIG = Config(length=(10, 12), seeds=2, updates=100)


def evaluation(update: int, *error: float) -> Evaluation:
    zeros = np.zeros(len(error))
    return Evaluation(update, zeros, zeros, np.array(error), zeros.astype(int))


def new_run(*evaluations: Evaluation, seconds: float = 0.0) -> Run:
    return Run(CONFIG, 0.01, list(evaluations), seconds)


def test_a_run_begins_with_nothing():
    run = new_run()
    assert (run.update, run.solved_at, run.done) == (0, [None, None], False)
    assert run.updates_per_second == 0


def test_solved_is_the_first_test_below_the_threshold():
    run = new_run()
    run.evaluations += [evaluation(10, 0.5, 0.01), evaluation(20, 0.009, 0.3)]
    assert (run.update, run.solved_at, run.done) == (20, [20, None], False)
    assert run.num_solved == 1
    run.evaluations += [evaluation(30, 0.2, 0.0)]
    assert (run.solved_at, run.num_solved, run.done) == ([20, 30], 2, True)


def test_a_spent_budget_ends_a_run():
    run = new_run(evaluation(100, 0.5, 0.5), seconds=4.0)
    assert (run.solved_at, run.done) == ([None, None], True)
    assert run.updates_per_second == 25


def test_sequences_of_flossing_count():
    config = Config(
        method="clip-norm+flossing",
        batch_size=20,
        flossing_updates=7,
        flossing_every=30,
        flossing_phases=2,
    )
    for method, updates, expected in (
        (config.method, 30, 30 * 20 + 7),
        (config.method, 31, 31 * 20 + 14),
        (config.method, 90, 90 * 20 + 14),
        ("clip-norm", 90, 90 * 20),
    ):
        run = Run(dataclasses.replace(config, method=method), 0.01)
        run.evaluations.append(evaluation(updates, 0.5))
        assert run.sequences == expected


def test_a_run_survives_json():
    made = evaluation(10, 0.5, 0.25)
    made = made._replace(train_loss=np.array([np.nan, 1.5]), nonfinite=np.array([7, 0]))
    measures = {"symbols": np.array([1.5, 0])}
    made = made._replace(measures=measures, stage=3)
    run = new_run(made, seconds=2.0)
    back = Run.from_dict(json.loads(json.dumps(run.record(), allow_nan=False)))
    assert back.time_limit == math.inf
    run.time_limit = 90.0
    assert Run.from_dict(run.record()).time_limit == 90
    assert back.config == CONFIG
    assert (back.solved_below, back.seconds) == (0.01, 2.0)
    (got,) = back.evaluations
    assert got.update == 10
    for name, expected in made.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], expected)
        assert got.arrays[name].dtype == expected.dtype
    np.testing.assert_array_equal(got.measures["symbols"], measures["symbols"])
    assert got.stage == 3
    old = made.to_dict()
    del old["measures"], old["stage"]
    assert Evaluation.from_dict(old)[-2:] == ({}, 0)

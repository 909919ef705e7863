"""Words of table cells that no study's own test looks at."""

import numpy as np

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.studies import cells
from tests.experiments.synthetic_runs import synthetic_run

RUN = synthetic_run(Config(task="xor", seeds=3), solved=2)


def test_a_seed_whose_loss_is_no_number_is_not_merely_wrong():
    run = synthetic_run(RUN.config, solved=2)
    run.evaluations[-1] = run.evaluations[-1]._replace(
        test_loss=np.array([1.0, np.nan, 1.0])
    )
    assert cells.wrong_at_the_end(RUN) == "0.1 0.1 50.0"
    assert cells.wrong_at_the_end(run) == "0.1 NaN 50.0"


def test_minutes_are_of_all_runs_together():
    assert cells.minutes(RUN) == "0.0167"
    assert cells.minutes(*[RUN] * 90) == "1.5"
    assert cells.minutes(*[RUN] * 60_000) == "1,000"

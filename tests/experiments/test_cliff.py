"""What is shown of the cliff."""

import json

import numpy as np
import pytest

from optax_ltd.experiments.studies.cliff import descents
from optax_ltd.experiments.studies.cliff import study as cliff
from tests.experiments.synthetic_runs import made_cliff


@pytest.fixture(scope="module")
def result() -> descents.Cliff:
    return made_cliff()


def test_the_record_makes_the_table_again(result):
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert "jax" in record["environment"]["packages"]
    table = cliff.table(record)
    told, _, heads, _, *rows = table.split("\n")
    assert told.startswith(
        "From w = 5.5, b = −2.2, 1,000 updates with learning rate 0.1"
    )
    assert "threshold 1." in told
    assert "largest gradient norm" in heads
    assert [row.split(" | ")[0] for row in rows] == [f"| {k}" for k in result.descents]
    cells = rows[0].split(" | ")
    assert cells[2] == str(result.outcomes["SGD"].left_at)
    assert cells[4] == "0.09"
    assert cells[5] == f"{result.outcomes['SGD'].left} of 625"
    assert rows[1].split(" | ")[2] == "–"


def test_the_picture_shows_both_descents(result):
    figure = cliff.figure(result)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["SGD", "SGD + clip"]
    chart = figure.axes[1]
    drawn = np.asarray(chart.lines[0].get_xydata())
    np.testing.assert_array_equal(drawn, result.descents["SGD"].points)
    assert (chart.get_xlim(), chart.get_ylim()) == (descents.W_RANGE, descents.B_RANGE)
    told = [text.get_text() for text in chart.texts if text.get_text()]
    assert [text.split("\n")[0] for text in told] == [
        f"update {result.outcomes['SGD'].left_at}"
    ]

"""A run that is killed with SIGKILL ends with the bits of one that never was."""

from typing import Any

import pytest

from benchmarks.kills import kill_and_resume, tables
from benchmarks.kills.checkpointed_training import EVERY
from benchmarks.kills.killed_runs import Life, Told, last_complete

EXPECTED = {0: "a", 40: "b", 80: "c", 120: "d"}


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    seen = kill_and_resume.run(tmp_path, 20)
    assert seen["uninterrupted_equal"]
    assert all(seen["runs_equal"])
    kills = seen["kills"]
    assert len(kills) == 20
    for kill in kills:
        assert kill["resumed_from"] == kill["checkpoint"]
        assert kill["equal"]
        # The save before the last has ended when the last begins.
        assert 0 <= kill["updates_lost"] <= 2 * EVERY
    assert any(kill["while_saving"] for kill in kills)
    assert any(kill["checkpoint"] == 0 for kill in kills)


def _told(*steps: int, **wrong: str) -> list[Told]:
    return [Told(step, wrong.get(f"at_{step}", EXPECTED[step])) for step in steps]


def _outcome(after: list[Told]) -> dict[str, Any]:
    killed = Life(0, _told(0, 40, 80), True, True, 40, 1.0)
    return kill_and_resume.outcome(
        killed, Life(40, after, False, False, 120, 1.0), EXPECTED
    )


def test_what_a_kill_cost_is_told():
    assert _outcome(_told(40, 80, 120)) == {
        "trained": 80,
        "checkpoint": 40,
        "updates_lost": 40,
        "while_saving": True,
        "resumed_from": 40,
        "equal": True,
    }


def test_a_resume_from_elsewhere_or_with_other_bits_is_told():
    early = _outcome(_told(0, 40, 80, 120))
    assert early["resumed_from"] != early["checkpoint"]
    assert not _outcome(_told(40, 80, 120, at_40="other"))["equal"]
    assert not _outcome(_told(40, 80, 120, at_120="other"))["equal"]


def test_the_table_counts():
    good, bad = _outcome(_told(40, 80)), _outcome(_told(0, 40, 80, at_80="other"))
    record = {"kills": [good, good, bad], "runs_equal": [True, False]}
    rows = dict(
        row.strip("| ").split(" | ") for row in tables.kills([record]).splitlines()[2:]
    )
    assert list(rows.values()) == ["3", "3", "0", "2", "2", "2", "1", "40", "40"]


def test_a_checkpoint_without_its_last_mark_is_not_complete(tmp_path):
    assert last_complete(tmp_path) == 0
    for name in ("80", "120", "160.orbax-checkpoint-tmp"):
        (tmp_path / name).mkdir()
    for name in ("80", "160.orbax-checkpoint-tmp"):
        (tmp_path / name / "commit_success.txt").touch()
    assert last_complete(tmp_path) == 80

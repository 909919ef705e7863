"""What one process wrote another reads to the last bit, and the other way round."""

import json
import sys
from pathlib import Path

from benchmarks.kills.checkpointed_training import bits
from tests.checkpoints import pythons, states
from tests.transforms.factories import same


def _there_and_back(python: str, folder: Path) -> None:
    written = states.scrambled(states.fresh())
    states.write(folder, written, written)
    (folder / "again").mkdir()
    (line,) = pythons.run(python, "tests.checkpoints.states", str(folder))
    assert json.loads(line) == {"orbax": bits(written), "flax": bits(written)}
    for back in states.read(folder / "again").values():
        assert same(back, written)


def test_another_process(tmp_path):
    _there_and_back(sys.executable, tmp_path)


def test_another_python(tmp_path):
    _there_and_back(pythons.other_python(), tmp_path)


def test_the_checksum_sees_every_bit():
    tree = states.scrambled(states.fresh())["clip_by_value"]
    record = tree.record
    assert bits(tree) == bits(tree)
    assert bits(tree) != bits(tree._replace(record=record._replace(norm=-record.norm)))

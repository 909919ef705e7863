"""What a run has learned, loaded from its folder."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from optax_ltd import experiments
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.checkpoints import Checkpoints, write_config
from optax_ltd.experiments.training.runner import Runner

CONFIG = Config(
    length=10,
    test_length=12,
    seeds=2,
    updates=2,
    test_every=2,
    test_size=20,
    batch_size=2,
    hidden_size=3,
    method="none",
)


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_trained_network_is_loaded_with_its_task_and_record(tmp_path: Path):
    write_config(tmp_path, CONFIG)
    runner = Runner(make_setup(CONFIG))
    runner.train()
    # Seed 0 has solved it before, and trained on.
    earlier = jax.tree.map(lambda leaf: leaf.at[0].add(1), runner.kept.params)
    runner.kept = runner.kept._replace(params=earlier)
    with Checkpoints(tmp_path) as saving:
        saving.save(runner)
    before = _files(tmp_path)

    trained = experiments.load(str(tmp_path))
    assert (trained.config, trained.run.update) == (CONFIG, 2)
    assert (trained.task.length, trained.test_task.length) == (10, 12)
    batch = trained.task.sample(jax.random.key(0), 5)
    for index, network in enumerate(trained.networks):
        assert isinstance(network, nnx.Module)
        np.testing.assert_array_equal(network(batch), runner.network(index)(batch))
    assert len(trained.networks) == 2
    kept, first = trained.networks[0].head, runner.network(0, trained=False).head
    assert not np.array_equal(kept.kernel[...], first.kernel[...])
    assert _files(tmp_path) == before


def test_a_folder_without_a_network_is_refused_and_left_alone(tmp_path: Path):
    told = "`checkpoint` must be a folder of checkpoints; got "
    with pytest.raises(ValueError, match=re.escape(told)):
        experiments.load(tmp_path / "nothing")
    write_config(tmp_path, CONFIG)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"a folder with a state; got .* no state yet"):
        experiments.load(tmp_path)
    assert sorted(tmp_path.iterdir()) == before

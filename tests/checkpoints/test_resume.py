"""A run that was resumed has the bits of one that never stopped."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import serialization

import optax_ltd as ltd
from benchmarks.kills.checkpointed_training import (
    bits,
    manager,
    restore,
    run,
    start,
    train,
)
from tests.checkpoints import pythons


@pytest.mark.slow
def test_resuming_is_never_stopping(tmp_path: Path):
    once = train(start(), 120)
    through = dict(run(tmp_path / "through", 120, 40))
    assert list(through) == [0, 40, 80, 120]
    assert through[120] == bits(once)
    first = list(run(tmp_path / "stopped", 60, 40))
    second = list(run(tmp_path / "stopped", 120, 20))
    assert [step for step, _ in second] == [60, 80, 100, 120]
    assert first[-1] == second[0]
    assert dict(second)[80] == through[80]
    assert dict(second)[120] == through[120]
    halfway = train(start(), 60)
    data = serialization.to_bytes(halfway)
    restored = jax.device_put(serialization.from_bytes(start(), data), jax.devices()[0])
    assert bits(train(restored, 120)) == bits(once)
    _everything_happened(once)


def _everything_happened(training) -> None:
    """Every threshold was crossed, and faults came to both random steps."""
    seen = ltd.metrics(training.opt_state)
    clipped = [name for name in seen if name.endswith("/clipped_count")]
    assert len(clipped) == 5
    assert all(seen[name] for name in clipped if "nonfinite_random_step" not in name)
    first, second = "nonfinite_random_step", "clip_or_random_step"
    assert seen[f"{first}/nonfinite_count"] > 0 < seen[f"{second}/nonfinite_count"]


@pytest.mark.slow
def test_another_python_goes_on(tmp_path: Path):
    """From version to version of JAX the training may differ in its last bits.

    What was saved does not, and goes on all the same.
    """
    *_, mine = run(tmp_path, 80, 40)
    python, module = pythons.other_python(), "benchmarks.kills.checkpointed_training"
    lines = pythons.run(python, module, str(tmp_path), "--updates", "160")
    *theirs, last = [tuple(json.loads(line)) for line in lines]
    assert theirs[0] == mine
    with manager(tmp_path) as checkpoints:
        training = restore(checkpoints)
    assert (int(training.step), bits(training)) == last
    *_, (step, _) = run(tmp_path, 240, 40)
    assert step == 240
    with manager(tmp_path) as checkpoints:
        params = restore(checkpoints).params
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))

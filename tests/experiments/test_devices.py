"""A run over eight devices against the same run on one."""

import json
import os
import subprocess
import sys

import pytest

from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.devices import make_mesh

CONFIG = Config(
    length=10,
    seeds=2,
    updates=4,
    test_every=2,
    test_size=20,
    batch_size=8,
    hidden_size=4,
)
PROGRAM = """
import json, sys
import jax
import numpy as np
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.training.devices import make_mesh
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.runner import Runner

config = Config.from_dict(json.loads(sys.argv[1]))
setup = make_setup(config)
one, eight = Runner(setup), Runner(setup, mesh=make_mesh("2x4", config))
for runner in (one, eight):
    runner.train()
for got, want in zip(eight.run.evaluations, one.run.evaluations, strict=True):
    for leaves in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(*leaves, rtol=1e-5)
assert len(eight.members.data_key.sharding.device_set) == 8
assert eight.members.data_key.addressable_shards[0].data.shape[0] == 1
print("alike")
"""


@pytest.mark.slow
def test_a_mesh_changes_no_number():
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(CONFIG.to_dict())],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "alike\n", done.stderr


def test_a_mesh_of_one_device_has_both_axes():
    for text in ("1x1", "1"):
        assert dict(make_mesh(text, CONFIG).shape) == {"seeds": 1, "batch": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "such as 2x4"),
        ("0x4", "such as 2x4"),
        ("2x", "such as 2x4"),
        ("-2x4", "such as 2x4"),
        ("2x4x1", "such as 2x4"),
        ("99x99", "got 99x99, of 9801"),
    ],
)
def test_what_is_no_mesh_is_refused(text: str, reason: str):
    with pytest.raises(ValueError, match=reason):
        make_mesh(text, CONFIG)


@pytest.mark.parametrize(("text", "field"), [("3", "seeds"), ("1x3", "batch_size")])
def test_devices_share_evenly(text: str, field: str, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 8)
    with pytest.raises(ValueError, match=f"`{field}` must be a multiple of 3 "):
        make_mesh(text, CONFIG)

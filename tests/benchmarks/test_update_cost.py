"""The benchmark of an update measures what it says, and its table says what it saw."""

import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import timing
from benchmarks.updates import cost, tables
from benchmarks.updates.settings import (
    APPLY_IF_FINITE,
    CHAINED,
    CLIP,
    GUARD,
    NONE,
    OPTAX_CLIP,
    READ,
    SETTINGS,
    SKIP,
    VALUE,
    Setting,
)

SGD = Setting("sgd", "finite", 20, 40, "float32")
ADAM = SGD._replace(optimizer="adam")
GRADIENT = [jnp.full((3, 4), 2.0), jnp.full((3, 4), -1.0)]


@functools.cache
def _change(name: str) -> np.ndarray:
    """What one update adds to parameters that were 1."""
    made = cost.contestant(name, SGD, GRADIENT)
    params, _, read = made.step(made.carry)
    assert bool(read) == (name == READ)
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in params]) - 1


@pytest.mark.parametrize("name", [CLIP, GUARD, READ, CHAINED, APPLY_IF_FINITE])
def test_clips_of_a_finite_gradient_make_the_same_update(name):
    np.testing.assert_allclose(_change(name), _change(OPTAX_CLIP), atol=1e-6)


def test_those_that_differ_do():
    clipped = _change(OPTAX_CLIP)
    np.testing.assert_allclose(_change(SKIP), _change(NONE), atol=1e-6)
    for name in (NONE, VALUE):
        assert np.max(np.abs(_change(name) - clipped)) > 1e-3


def test_an_update_of_half_precision_parameters_runs_again_and_again():
    made = cost.contestant(GUARD, ADAM._replace(dtype="bfloat16"), GRADIENT)
    params, _, _ = made.step(made.step(made.carry))
    assert {leaf.dtype for leaf in params} == {jnp.dtype(jnp.bfloat16)}


def test_parameters_are_as_many_as_the_setting_says():
    for setting in SETTINGS:
        rows, columns = setting.shape
        assert setting.leaves * rows * columns == setting.millions * 1_000_000


def _entry(setting: Setting, seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "case": setting._asdict(),
        "environment": {"platform": "cpu"},
        "contestants": {n: {"all_seconds": [s, s]} for n, s in seconds.items()},
    }


def _against_optax(setting: Setting, name: str, ratio: float) -> list[str]:
    entry = _entry(setting, {name: ratio, OPTAX_CLIP: 1.0})
    rows = tables.targets([entry]).splitlines()
    (row,) = (row for row in rows if f"`{name}` / `{OPTAX_CLIP}`" in row)
    return [cell.strip() for cell in row.strip("|").split("|")][2:]


@pytest.mark.parametrize(
    ("setting", "name", "ratio", "told"),
    [
        (SGD, GUARD, 1.05, ["1.05 (1.05 to 1.05)", "≤ 1.1", "yes"]),
        (SGD, GUARD, 1.2, ["1.2 (1.2 to 1.2)", "≤ 1.1", "**no**"]),
        (ADAM, GUARD, 0.5, ["0.5 (0.5 to 0.5)", "≤ 0.6", "yes"]),
        (SGD, CLIP, 1.25, ["1.25 (1.25 to 1.25)", "≤ 1.0", "**no**"]),
        (SGD, CHAINED, 4.5, ["4.5 (4.5 to 4.5)", "as low as can be", "–"]),
    ],
)
def test_each_target_stands_beside_what_was_seen(setting, name, ratio, told):
    assert _against_optax(setting, name, ratio) == told


def test_what_is_missing_is_left_empty():
    table = tables.targets([_entry(ADAM, {GUARD: 1.0, OPTAX_CLIP: 1.0})])
    (row,) = (r for r in table.splitlines() if APPLY_IF_FINITE in r)
    assert row.endswith("| – | ≤ 0.45 | – |")


def test_the_table_of_targets_is_of_finite_gradients():
    entry = _entry(SGD._replace(gradient="nan"), {GUARD: 1.0, OPTAX_CLIP: 1.0})
    assert len(tables.targets([entry]).splitlines()) == 2


def test_chains_of_updates_are_told_where_a_record_has_them():
    old = _entry(SGD, {GUARD: 1.0, OPTAX_CLIP: 1.0})
    assert tables.chains([old]) == []
    ratio = {GUARD: {"median": 1.05, "lower": 1.0, "upper": 1.1}}
    new = {**old, "chained": {"updates": 10, "ratio": ratio}}
    _, table = tables.chains([old, new])
    assert table.splitlines()[-1].endswith(f"| 10 | `{GUARD}` | 1.05 (1 to 1.1) |")


def test_a_chain_counts_its_steps():
    contestant = timing.Contestant(lambda carry: carry + 1, jnp.zeros(()))
    seconds = timing.interleave_chains({"a": contestant}, (1, 10), rounds=12, warmup=1)
    assert {length: of["a"].shape for length, of in seconds.items()} == {
        1: (12,),
        10: (2,),
    }

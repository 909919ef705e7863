"""Every transformation alone, under every fault."""

import functools
import zlib
from typing import Any

import jax
import numpy as np
import pytest

import optax_ltd as ltd
from tests.transforms.factories import (
    KINDS,
    VARIANTS,
    each_variant,
    same,
    signature,
)
from tests.transforms.fault_checks import Ledger, check_output
from tests.transforms.fault_oracles import (
    check_averages,
    check_statistics,
    judge,
    judge_leaf,
    measure,
)
from tests.transforms.faults import (
    FEW,
    STRUCTURES,
    Case,
    cases,
    run_cases,
)

FAST, SLOW = 50, 600  # cases for each transformation
QUIET = 1e30
_LIMITS = {"max_delta", "max_norm", "step_size"}


def test_there_are_enough_cases():
    assert len(KINDS) * FAST >= 400
    assert len(VARIANTS) * SLOW >= 8_400


@functools.cache
def params_of(name: str) -> list[np.ndarray]:
    """Parameters, from 0.5 upwards."""
    return [
        (0.5 + np.arange(np.prod(shape, dtype=int)).reshape(shape)).astype(dtype)
        for dtype, shape in STRUCTURES[name].leaves
    ]


@functools.cache
def _program(name: str, shape: str) -> Any:
    """The jitted update, from and to the leaves that are drawn."""
    variant, structure = VARIANTS[name], STRUCTURES[shape]

    def update(limit: Any, leaves: Any, state: Any) -> Any:
        given = dict.fromkeys(_LIMITS & {*variant.arguments}, limit)
        tx = variant._replace(arguments=variant.arguments | given).make()
        tree = structure.build(leaves)
        new, after = tx.update(tree, state, structure.build(params_of(shape)))
        assert jax.tree.structure(new) == jax.tree.structure(tree)
        rows = list(zip(jax.tree.leaves(tree), jax.tree.leaves(new), strict=True))
        drawn = {id(leaf): i for i, leaf in enumerate(leaves)}
        # What has no direction is passed on as it is, when tracing already.
        idle = [row for row in rows if id(row[0]) not in drawn]
        assert (
            variant.examples
            or variant.above == "skip"
            or all(old is kept for old, kept in idle)
        )
        found = {drawn[id(old)]: kept for old, kept in rows if id(old) in drawn}
        new_leaves = [found[i] for i in range(len(leaves))]
        assert signature(new_leaves) == signature(leaves)
        assert signature(after) == signature(state)
        return new_leaves, after

    return jax.jit(update)


def _step(name: str, shape: str, limit: float, leaves: Any, state: Any) -> Any:
    """One update, all of it checked; returns the state after."""
    limit = _number(limit, shape)
    out, after = _program(name, shape)(limit, leaves, state)
    out, after, before = jax.device_get((out, after, state))
    seen = measure(leaves)
    if VARIANTS[name].above == "leaves":
        # As they lie in the tree, which is the order of their averages.
        order = np.argsort([index for index, _ in STRUCTURES[shape].paths()])
        leaves, out = ([tree[i] for i in order] for tree in (leaves, out))
        check_averages(seen, before, after, leaves, limit)
        if before.counted and not seen.bad:
            return after, "leaves", _leaf_by_leaf(before, after, leaves, out, limit)
        leaves, out = ([tree[i] for i in np.argsort(order)] for tree in (leaves, out))
    verdict = judge(VARIANTS[name], seen, before, limit)
    clipped = bool(after.record.clipped_count - before.record.clipped_count)
    kind = verdict.kinds[-1] if clipped else verdict.kinds[0]
    assert clipped == (kind in _CLIPS and not seen.bad)
    check_output(kind, verdict, seen, leaves, out, params_of(shape))
    check_statistics(seen, before, after)
    assert kind != "random" or _repeats(name, shape, limit, leaves, state, out)
    return after, kind, verdict


def _leaf_by_leaf(
    before: Any, after: Any, leaves: Any, out: Any, limit: float
) -> list[float]:
    """Checks each leaf as a gradient of its own; returns by what it was multiplied."""
    count = round(float(after.record.recent_clips[-1]) * len(leaves))
    rows = [
        judge_leaf(leaf, average, limit)
        for leaf, average in zip(leaves, before.averages, strict=True)
    ]
    # Where rounding decides, the record is asked how many leaves it decided for.
    doubtful = count - sum(verdict.kinds == ("norm",) for _, verdict in rows)
    assert 0 <= doubtful <= sum(len(verdict.kinds) == 2 for _, verdict in rows)
    factors = []
    for (seen, verdict), old, new in zip(rows, leaves, out, strict=True):
        kind = verdict.kinds[0]
        if len(verdict.kinds) == 2:
            kind = "same" if same(old, new) else "norm"
        check_output(kind, verdict, seen, [old], [new], [])
        clipped = kind == "norm"
        if len(verdict.kinds) == 2:
            clipped, doubtful = doubtful > 0, doubtful - 1
        factor = float(verdict.threshold / seen.norm) if clipped else 1.0
        factors.append(min(factor, 1 - 1e-9) if clipped else 1.0)
    return factors


_CLIPS = ("norm", "value", "random", "skip")


def _repeats(
    name: str, shape: str, limit: Any, leaves: Any, state: Any, out: Any
) -> bool:
    """Whether any other gradient in the same state is replaced by the same step."""
    if VARIANTS[name].nonfinite == "random":
        other = [np.full_like(leaf, np.nan) for leaf in leaves]
    else:
        other = [np.negative(leaf) for leaf in leaves]
    again, _ = _program(name, shape)(limit, other, state)
    return same(jax.device_get(again), out)


@functools.cache
def _start(name: str, shape: str, late: bool) -> Any:
    """A state and the plain record of what it has seen."""
    structure, program = STRUCTURES[shape], _program(name, shape)
    state = VARIANTS[name].make().init(structure.build(params_of(shape)))
    ledger = Ledger(structure, VARIANTS[name].above == "value")
    rng = np.random.default_rng(0)
    for _ in range(63 if late else 0):
        size = 0.1 * np.exp(rng.normal())
        leaves = [
            np.asarray(size * rng.normal(size=leaf.shape)).astype(leaf.dtype)
            for leaf in params_of(shape)
        ]
        before = state.record.clipped_count
        _, state = program(_number(QUIET, shape), leaves, state)
        clipped = state.record.clipped_count > before
        ledger.add(leaves, "norm" if clipped else "same", 0)
        ledger.clips[-1] = float(state.record.recent_clips[-1])
    return state, ledger


def _number(limit: float, shape: str) -> Any:
    return np.float64(limit) if STRUCTURES[shape].x64 else np.float32(limit)


def _checked(
    name: str, shape: str, limit: float, leaves: Any, state: Any, ledger: Ledger
) -> Any:
    after, kind, verdict = _step(name, shape, limit, leaves, state)
    if kind == "leaves":
        ledger.add(leaves, kind, None, verdict)
    else:
        ledger.add(leaves, kind, verdict.threshold)
    ledger.check(after.record)
    return after


def check(name: str, case: Case) -> None:
    """Everything that holds for a run of gradients through one transformation."""
    structure = STRUCTURES[case.structure]
    with jax.enable_x64(structure.x64):
        state, ledger = _start(name, case.structure, case.late)
        ledger = ledger.copy()
        for leaves in case.gradients:
            state = _checked(name, case.structure, case.limit, leaves, state, ledger)
        label = VARIANTS[name].factory.__name__
        ledger.check_metrics(label, ltd.metrics(state))
        ledger.check_message(state, structure.build(params_of(case.structure)))


@each_variant(fast=KINDS)
def test_under_fault(name):
    run_cases(cases(FEW), functools.partial(check, name), FAST, _seed(name))


def test_subnormal_entries_may_be_missing_from_a_norm():
    def leaves(single: float, double: float) -> list[Any]:
        pair, half = np.array([0, single], np.float32), np.float16(0)
        return [np.zeros((2, 1)), pair, np.array(1j * double), np.asarray(half)]

    run = [leaves(0.0, 1.88e-37), leaves(5.9e-39, 1.94e-37)]
    assert measure(run[1]).unseen > 4e-4
    check("clip_by_norm_percentile", Case("doubles", 1.0, False, run))


@pytest.mark.slow
@each_variant()
def test_under_every_fault(name):
    run_cases(cases(), functools.partial(check, name), SLOW, _seed(name) + 1)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())

"""Guards and optimisers in one chain, under every fault."""

import functools
import zlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from tests.slow import slow_but
from tests.transforms.factories import VARIANTS, flat, loose, same, signature
from tests.transforms.fault_oracles import measure
from tests.transforms.faults import LONGEST, STRUCTURES, Case, cases, run_cases

FAST, SLOW = 50, 100  # cases for each chain
GUARDS = {
    "clip or random step": ltd.clip_or_random_step(1.0, key=7),
    "random step, clip": optax.chain(
        ltd.nonfinite_random_step(1.0, key=7), ltd.clip_by_global_norm(1.0)
    ),
    "zero, clip": optax.chain(
        ltd.nonfinite_random_step(fallback="zero"), ltd.clip_by_global_norm(1.0)
    ),
    "shrink, clip": optax.chain(
        ltd.nonfinite_random_step(fallback="shrink"), ltd.clip_by_global_norm(1.0)
    ),
}
OPTIMISERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.1),
    "rmsprop": optax.rmsprop(0.1),
}
_FEW = ("momentum", "adam")  # with one running average and with two
_SHAPES = ("doubles", "matrix and vector", "bfloat16")


def test_there_are_enough_cases():
    """Together with those of each transformation alone: 500, and 10,000 slow ones."""
    assert len(_FEW) * FAST >= 100
    assert len(GUARDS) * len(OPTIMISERS) * SLOW >= 1_600


def _params(shape: str) -> Any:
    """Parameters, in float32 where the gradient has less."""
    structure = STRUCTURES[shape]
    return structure.build(
        [
            jnp.full(size, 0.5, jnp.promote_types(dtype, jnp.float32))
            for dtype, size in structure.leaves
        ]
    )


@functools.cache
def _program(guard: str | None, optimiser: str | None, shape: str) -> Any:
    """The jitted update of both in a chain, or of one of them."""
    parts = [GUARDS[guard]] if guard else []
    parts += [OPTIMISERS[optimiser]] if optimiser else []
    tx = loose(optax.chain(*parts))

    @jax.jit
    def update(updates: Any, state: Any, params: Any) -> Any:
        updates, after = tx.update(updates, state, params)
        assert signature(after) == signature(state)
        return updates, after, optax.apply_updates(params, updates)

    return update, tx.init(_params(shape))


def _check(guard: str, optimiser: str, case: Case) -> None:
    """A run of gradients: nothing but what the guard lets out reaches the optimiser."""
    structure = STRUCTURES[case.structure]
    with jax.enable_x64(structure.x64):
        params = _params(case.structure)
        together, state = _program(guard, optimiser, case.structure)
        first, first_state = _program(guard, None, case.structure)
        then, then_state = _program(None, optimiser, case.structure)
        bad = 0
        for leaves in case.gradients:
            updates = structure.build(leaves)
            bad += bool(measure(leaves).bad)
            guarded, first_state, _ = first(updates, first_state, params)
            alone, then_state, _ = then(guarded, then_state, params)
            out, state, params = together(updates, state, params)
            _check_finite(optimiser, state[1:], params)
            np.testing.assert_allclose(flat(out), flat(alone), rtol=1e-5, atol=1e-5)
            # The second guard of a chain meets what the first has mended.
            counts = [
                int(value)
                for name, value in ltd.metrics(state).items()
                if name.endswith("/nonfinite_count")
            ]
            assert counts == [bad, *([0] * (len(counts) - 1))]


def _check_finite(optimiser: str, optimiser_state: Any, params: Any) -> None:
    """No state of an optimiser has room for more than a few steps of norm 1."""
    numbers = [
        leaf for leaf in jax.tree.leaves(optimiser_state) if leaf.dtype != jnp.int32
    ]
    assert (abs(flat(numbers)) <= LONGEST + 0.1).all()
    if optimiser in ("sgd", "momentum"):
        assert (abs(flat(params)) <= 0.5 + 100 * LONGEST).all()
    else:
        # Where the square of a float16 gradient vanishes, these divide by epsilon.
        chex.assert_tree_all_finite(params)


@pytest.mark.parametrize("optimiser", slow_but(["momentum"], _FEW))
def test_behind_a_guard(optimiser):
    check = functools.partial(_check, "clip or random step", optimiser)
    run_cases(cases(("doubles",)), check, FAST, zlib.crc32(optimiser.encode()))


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("guard", GUARDS)
def test_behind_every_guard(guard, optimiser):
    check = functools.partial(_check, guard, optimiser)
    run_cases(cases(_SHAPES), check, SLOW, zlib.crc32((guard + optimiser).encode()))


@pytest.mark.parametrize(
    "tx",
    [
        VARIANTS["clip_or_random_step"].make(),
        VARIANTS["clip_by_norm_zscore"].make(),
        pytest.param(
            optax.chain(GUARDS["zero, clip"], OPTIMISERS["adam"]),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["guard", "running threshold", "chain"],
)
def test_a_scan_over_faults_is_the_loop(tx):
    structure = STRUCTURES["array"]
    params = jnp.full(4, 0.5)
    start = tx.init(params)
    update = jax.jit(tx.update)
    scan = jax.jit(
        lambda state, stacked: jax.lax.scan(
            lambda state, g: tx.update(g, state, params)[::-1], state, stacked
        )
    )

    def check(case: Case) -> None:
        gradients = [structure.build(leaves) for leaves in case.gradients]
        scanned_state, scanned = scan(start, np.stack(gradients))
        state = start
        for i, gradient in enumerate(gradients):
            out, state = update(gradient, state, params)
            assert same(out, scanned[i])
        assert same(state, scanned_state)

    run_cases(cases(("array",), steps=(LONGEST, LONGEST)), check, 20, 0)

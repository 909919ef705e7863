"""Training goes on where some gradients are spoilt, and the benchmark counts right."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.faults import faulty_gradients, tables
from benchmarks.faults.faulty_gradients import (
    CASES,
    FALLBACKS,
    GUARDS,
    METHOD,
    NO_FAULTS,
    SKIP,
    SKIP_SPIKES,
)
from benchmarks.faults.injection import (
    HUGE,
    INF,
    KINDS,
    NAN,
    NAN_LEAF,
    Faults,
    inject_faults,
)
from benchmarks.faults.lost_steps import count_lost_steps
from optax_ltd.experiments.parts.config import Config
from tests.benchmarks import compilation

ALIVE = ("clip_or_random_step", *FALLBACKS, SKIP)
KEY = jax.random.key(3)
GRADIENT = {"a": jnp.array([[1.0, -2.0], [3.0, 4.0]]), "b": jnp.array([0.5, -0.25])}


def _spoilt(faults: Faults, steps: int) -> tuple[Any, Any]:
    """What becomes of GRADIENT, step after step, and the state at the end."""
    tx: Any = inject_faults(faults, KEY)

    def step(state: Any, _: None) -> tuple[Any, Any]:
        updates, state = tx.update(GRADIENT, state)
        return state, updates

    state, updates = jax.lax.scan(step, tx.init(GRADIENT), length=steps)
    return updates, state


def _hit(updates: Any) -> np.ndarray:
    """At which steps the gradient is another."""
    differs = [
        (np.asarray(got) != np.asarray(sent)).reshape(len(got), -1).any(1)
        for got, sent in zip(updates.values(), GRADIENT.values(), strict=True)
    ]
    return np.any(differs, axis=0)


def test_faults_come_at_their_rate_and_every_kind_alike():
    updates, state = _spoilt(Faults(rate=0.1), 10_000)
    hit = _hit(updates)
    # Four standard deviations of a binomial distribution.
    assert abs(hit.sum() - 1000) < 4 * np.sqrt(900)
    assert state.counts.sum() == hit.sum()
    np.testing.assert_allclose(state.counts, hit.sum() / 4, atol=4 * np.sqrt(190))
    assert state.step == 10_000
    again, _ = _spoilt(Faults(rate=0.1), 10_000)
    jax.tree.map(np.testing.assert_array_equal, updates, again)


def test_each_network_has_faults_of_its_own():
    tx: Any = inject_faults(Faults(rate=0.1), KEY)
    other = {"a": GRADIENT["a"].at[0, 0].add(1e-3), "b": GRADIENT["b"]}
    one, same, another = (tx.init(p).key for p in (GRADIENT, GRADIENT, other))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, another)


def test_a_burst_spoils_its_steps_alone():
    updates, state = _spoilt(Faults(burst=range(5, 8), kinds=(NAN,)), 20)
    np.testing.assert_array_equal(np.flatnonzero(_hit(updates)), [5, 6, 7])
    np.testing.assert_array_equal(state.counts, [3])


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_what_it_is_called(kind: str):
    updates, _ = _spoilt(Faults(rate=1.0, kinds=(kind,)), 100)
    a, b = np.asarray(updates["a"]).reshape(100, -1), np.asarray(updates["b"])
    sent = np.concatenate([np.ravel(leaf) for leaf in GRADIENT.values()])
    if kind == HUGE:
        expected = np.broadcast_to(np.float32(1e30) * sent, (100, 6))
        np.testing.assert_array_equal(np.hstack([a, b]), expected)
    elif kind == NAN_LEAF:
        assert (np.isnan(a).all(1) ^ np.isnan(b).all(1)).all()
        assert (np.isnan(a).any(1) ^ np.isnan(b).any(1)).all()
        assert np.isnan(a).any(), "each leaf has its turn"
        assert np.isnan(b).any()
    else:
        bad = {INF: np.isposinf, NAN: np.isnan}[kind](np.hstack([a, b]))
        np.testing.assert_array_equal(bad.sum(1), 1)
        assert bad.any(0).all(), "every entry has its turn"
        others = np.where(bad, sent, np.hstack([a, b]))
        np.testing.assert_array_equal(others, np.broadcast_to(sent, (100, 6)))


@pytest.mark.parametrize(
    ("made", "counts"),
    [
        (lambda g: g, (0, 0, -1)),
        (lambda g: 1e-20 * g, (0, 0, -1)),
        (lambda g: 0 * g, (3, 0, -1)),
        (lambda g: -g, (0, 3, -1)),
        (lambda g: g.at[0].set(-9.0), (0, 3, -1)),
        (lambda g: g.at[0].set(jnp.nan), (0, 0, 0)),
        (lambda g: g.at[0].set(jnp.inf), (0, 0, 0)),
    ],
)
def test_lost_steps_are_told_apart(made, counts):
    tx: Any = count_lost_steps(optax.stateless(lambda g, _: made(g)))
    gradient = jnp.array([1.0, 2.0, 2.0])
    state = tx.init(gradient)
    for _ in range(3):
        update, state = tx.update(gradient, state)
        np.testing.assert_array_equal(update, made(gradient))
    # Where there is no gradient, no step is no loss.
    _, state = (
        tx.update(jnp.zeros(3), state) if made(jnp.zeros(3))[0] == 0 else (0, state)
    )
    assert (state.zero, state.replaced, state.broken_at) == counts


def test_nothing_is_counted_behind_the_first_broken_step():
    plan = jnp.array([0.0, -1.0, jnp.nan, 0.0, -1.0, jnp.nan])
    tx: Any = count_lost_steps(optax.scale_by_schedule(lambda step: plan[step]))
    state = tx.init(jnp.ones(2))
    for _ in plan:
        _, state = tx.update(jnp.ones(2), state)
    assert (state.zero, state.replaced, state.broken_at) == (1, 1, 2)


def _train(name: str) -> float:
    """The loss after a small tanh net was trained, 5 % of its gradients spoilt."""
    x = jnp.linspace(-1, 1, 32)[:, None]
    first, second = (0.5 * jax.random.normal(k, (8,)) for k in jax.random.split(KEY))
    params = {"first": first, "bias": jnp.zeros(8), "second": second}
    faults = Faults(rate=0.0 if name == NO_FAULTS else 0.05)
    tx = optax.chain(inject_faults(faults, KEY), GUARDS[name](), optax.sgd(0.1))

    def loss(params: Any) -> jax.Array:
        hidden = jnp.tanh(x * params["first"] + params["bias"])
        return jnp.mean((hidden @ params["second"] - jnp.sin(3 * x[:, 0])) ** 2)

    def step(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    with compilation.quick():
        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=1000)
        return float(loss(params))


@pytest.fixture(scope="module")
def faultless() -> float:
    return _train(NO_FAULTS)


@pytest.mark.parametrize("name", [*ALIVE, SKIP_SPIKES])
def test_training_goes_on(name: str, faultless: float):
    assert _train(name) < 1.1 * faultless < 0.01


def test_behind_a_clip_alone_it_ends():
    assert np.isnan(_train("clip_by_global_norm"))


def _came(**changes: Any) -> dict[str, Any]:
    """What `train` returns of two seeds."""
    faults = {INF: [3, 4], HUGE: [2, 2]}
    return {
        "solved_at": [1250, None],
        "error": [0.0, 0.01],
        "zero": [1, 1],
        "replaced": [2, 3],
        "broken_at": [None, None],
        "faults": faults,
    } | changes


def test_the_table_says_what_the_record_says():
    config = Config(length=20, seeds=2, updates=4000)
    trained = {
        NO_FAULTS: _came(faults={INF: [0, 0], HUGE: [0, 0]}),
        "broken": _came(broken_at=[1001, 999], solved_at=[None, None]),
    }
    cases = sorted(CASES)  # as their files are found: the burst first
    entries = [faulty_gradients.entry(case, config, trained) for case in cases]
    first, *rows = tables.guards(json.loads(json.dumps(entries))).splitlines()
    assert first == "### 1 % of the gradients"
    assert rows[1].startswith("Temporal order over 20 steps, 50 units, ")
    assert rows[1].endswith(
        " Of 4,000 gradients a seed 5 to 6 were spoilt: "
        "3 to 4 Inf in an entry, 2 × 1e30."
    )
    assert rows[5:7] == [
        f"| `{NO_FAULTS}` | 1 of 2 | 1,250 – | 1 of 2 | 1 | 2 to 3 | – |",
        "| `broken` | 0 of 2 | – – | 1 of 2 | 1 | 2 to 3 "
        "| 2 of 2, update 1,000 to 1,002 |",
    ]
    assert rows[8] == "### 10 gradients in a row"
    assert " were spoilt, from update 101 on: " in rows[10]


@pytest.mark.slow
def test_a_guard_without_a_record_takes_part():
    config = Config(
        method=METHOD, length=10, seeds=1, updates=2, hidden_size=2, batch_size=2
    )
    with compilation.quick():
        came = faulty_gradients.train(
            "optax.clip_by_global_norm", Faults(burst=range(1, 2), kinds=(NAN,)), config
        )
    assert came["broken_at"] == [1]
    assert came["faults"] == {NAN: [1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ALIVE, "clip_by_global_norm"])
def test_a_recurrent_net_learns_in_spite_of_faults(name: str):
    config = Config(method=METHOD, length=20, seeds=2, updates=750)
    came = faulty_gradients.train(name, Faults(rate=0.05), config)
    faults = {kind: np.array(seeds) for kind, seeds in came["faults"].items()}
    if name not in ALIVE:
        assert None not in came["broken_at"]
        assert came["solved_at"] == [None, None]
        return
    assert came["broken_at"] == [None, None]
    assert any(at is not None for at in came["solved_at"])
    assert min(came["error"]) < 0.01
    # A gradient that is only too large is clipped, and lost by nobody.
    lost = faults[INF] + faults[NAN] + faults[NAN_LEAF]
    assert min(lost) > 0
    assert min(faults[HUGE]) > 0
    kind = "zero" if name == SKIP or name.endswith("zero") else "replaced"
    np.testing.assert_array_equal(came[kind], lost)

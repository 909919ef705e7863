"""The rules of others do what their code does, their faults included."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.faults.spike_skipping import skip_step_on_spikes, skipstep

NAN = float("nan")
NORMS = [1, 1.2, 0.8, 1, 40, 1.1, 1, 1, 1.2, NAN, 1, 1.1, 0.9, 1, 1, 1, 60, 1]


def _run(rule: Any, norms: list[float]) -> tuple[np.ndarray, Any]:
    """The steps of sgd with momentum behind a rule, and the inner states."""
    tx = rule(optax.trace(0.5), window=6)

    def step(state: Any, norm: jax.Array) -> Any:
        updates, state = tx.update(norm[None], state)
        return state, (updates[0], state.inner.trace[0])

    _, seen = jax.lax.scan(step, tx.init(jnp.zeros(1)), jnp.array(norms))
    return np.asarray(seen[0]), np.asarray(seen[1])


@pytest.mark.parametrize(
    ("rule", "bad"), [(skip_step_on_spikes, 0), (skipstep, np.nan)]
)
def test_a_nan_in_the_window_skips_all_steps_till_it_has_left(rule, bad):
    updates, traces = _run(rule, NORMS)
    expected, trace = [], 0.0
    for i, norm in enumerate(NORMS):
        taken = i not in {4, *range(9, 17)}
        trace = 0.5 * trace + norm if taken else trace
        expected.append(trace if taken else bad if i == 9 else 0.0)
        np.testing.assert_allclose(traces[i], trace, rtol=1e-6)
    np.testing.assert_allclose(updates, expected, rtol=1e-6)


@pytest.mark.parametrize("rule", [skip_step_on_spikes, skipstep])
def test_nothing_is_skipped_until_half_of_the_window_is_full(rule):
    updates, _ = _run(rule, [NAN, 1])
    assert np.isnan(updates[0])


def test_the_deviations_are_an_unbiased_and_a_biased_one():
    norms = [1.0, 2, 3, 4, 9.9]  # Mean 2.5, deviations 1.29 and 1.12.
    assert _run(skip_step_on_spikes, norms)[0][-1] > 0
    assert _run(skipstep, norms)[0][-1] == 0

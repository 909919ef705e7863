"""The cliff: its loss, and what descents on it come to."""

import jax
import numpy as np
import optax
import pytest

import optax_ltd as ltd
from optax_ltd.experiments.studies.cliff import descents
from tests.experiments.synthetic_runs import made_cliff

W, B = 5.2, -2.3
loss = jax.jit(descents.loss)
gradient_of = jax.jit(jax.grad(descents.loss, argnums=(0, 1)))


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def reference_loss(w: float, b: float) -> float:
    """The loss in float64."""
    x = 0.5
    for _ in range(50):
        x = w * sigmoid(x) + b
    return (sigmoid(x) - 0.7) ** 2


@pytest.fixture(scope="module")
def result() -> descents.Cliff:
    return made_cliff()


def test_the_loss_is_that_of_the_paper():
    for w, b in [(W, B), (4.5, -2.3), (5.0, -3.0), (6.0, -2.0)]:
        np.testing.assert_allclose(
            loss(w, b), reference_loss(w, b), rtol=1e-3, atol=1e-9
        )


@pytest.mark.parametrize(("w", "b"), [(W, B), (4.2, -2.0), (5.0, -2.9)])
def test_the_gradient_is_a_finite_difference(w: float, b: float):
    gradient = gradient_of(w, b)
    step = 1e-5
    along_w = reference_loss(w + step, b) - reference_loss(w - step, b)
    along_b = reference_loss(w, b + step) - reference_loss(w, b - step)
    expected = np.array([along_w, along_b]) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-2)


def test_the_loss_is_zero_along_the_valley():
    for w in (3.0, 3.5, 4.0):
        b = np.log(0.7 / 0.3) - 0.7 * w
        np.testing.assert_allclose(loss(w, b), 0, atol=1e-6)


def test_the_cliff_is_where_the_first_state_changes_attractors():
    for w in (5.0, 5.5, 6.0):
        b = 0.5 - w * sigmoid(0.5)
        above, below = (float(loss(w, b + step)) for step in (0.02, -0.02))
        assert above < 0.1 < 0.25 < below


def test_the_surface_has_a_row_for_each_bias():
    w, b = np.array([4.0, 5.0, 6.0]), np.array([-3.0, -2.0])
    losses = np.asarray(jax.jit(descents.surface)(w, b))
    assert losses.shape == (2, 3)
    np.testing.assert_allclose(losses[0, 2], reference_loss(6.0, -3.0), rtol=1e-3)


def test_a_descent_is_that_of_a_loop():
    tx = optax.chain(ltd.clip_by_global_norm(0.1), optax.sgd(0.5))
    path = jax.jit(lambda start: descents.descend(tx, start, 3))(np.array([W, B]))
    assert [len(values) for values in path] == [4, 4, 4]
    point = np.array([W, B])
    for i in range(4):
        np.testing.assert_allclose(path.points[i], point, rtol=1e-4)
        np.testing.assert_allclose(path.losses[i], reference_loss(*point), rtol=1e-2)
        gradient = np.array(gradient_of(*point))
        norm = np.linalg.norm(gradient)
        np.testing.assert_allclose(path.gradient_norms[i], norm, rtol=1e-2)
        point = point - 0.5 * gradient * min(1, 0.1 / norm)


def test_plain_descent_is_thrown_off_by_one_update(result):
    plain = result.outcomes["SGD"]
    descent = result.descents["SGD"]
    assert plain.left_at is not None
    before, after = descent.points[plain.left_at - 1 : plain.left_at + 1]
    assert np.linalg.norm(after - before) > 2
    assert not np.isclose(descent.points, after).all(1)[: plain.left_at].any()
    assert plain.final_loss > 0.05
    assert plain.largest_norm == descent.gradient_norms.max() > 10
    far = np.linalg.norm(np.array(plain.farthest) - descents.START)
    assert far == pytest.approx(np.linalg.norm(after - descents.START), rel=0.01)


@pytest.mark.parametrize("name", ["SGD + clip", "SGD + random step"])
def test_guarded_descent_stays_and_arrives(result, name):
    outcome, descent = result.outcomes[name], result.descents[name]
    assert outcome.left_at is None
    assert outcome.final_loss < 1e-3
    # The gradients are no smaller; the steps are.
    assert outcome.largest_norm > 10
    steps = np.linalg.norm(np.diff(descent.points, axis=0), axis=-1)
    assert steps.max() <= descents.LEARNING_RATE * descents.MAX_NORM * 1.0001


def test_all_descents_are_the_same_up_to_the_cliff(result):
    plain, *others = result.descents.values()
    above = int(np.argmax(plain.gradient_norms > descents.MAX_NORM))
    assert above > 10
    for other in others:
        np.testing.assert_allclose(
            other.points[: above + 1], plain.points[: above + 1], rtol=1e-4
        )


def test_the_start_is_no_exception(result):
    plain, *others = result.outcomes.values()
    assert plain.left > 0.7 * plain.starts
    assert plain.solved < 0.5 * plain.starts
    for other in others:
        assert other.solved > 0.98 * other.starts
        assert other.left < 0.03 * other.starts

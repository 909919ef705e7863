"""The average of clipped gradients is not the clipped average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.clip_bias import bias, picture, tables

SIZE = 10.0


@pytest.fixture(scope="module")
def seen() -> dict:
    return bias.run()


@jax.jit
def _average(gradients: jax.Array, max_norm: jax.Array) -> jax.Array:
    return bias.average_of_clipped(gradients, max_norm)[0]


_clipped_average = jax.jit(bias.clipped_average)


def _angle(vector: np.ndarray) -> float:
    return np.degrees(np.arctan2(vector[1], vector[0]))


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0])
def test_two_examples(max_norm):
    """Of (1, 0) and (0, s) the average is (min(1, v), min(s, v)) / 2."""
    gradients = jnp.array([[1.0, 0.0], [0.0, SIZE]])
    expected = np.array([min(1, max_norm), min(SIZE, max_norm)]) / 2
    average = _average(gradients, max_norm)
    np.testing.assert_allclose(average, expected, rtol=1e-6)
    bounded = _clipped_average(gradients, max_norm)
    np.testing.assert_allclose(_angle(bounded), _angle(np.array([1, SIZE])), rtol=1e-6)
    norm = np.hypot(1, SIZE) / 2
    np.testing.assert_allclose(np.linalg.norm(bounded), min(norm, max_norm), rtol=1e-6)


def test_the_bias_grows_as_the_threshold_falls():
    """The angle of two examples is arctan(s) - arctan(v) for v from 1 to s."""
    gradients = jnp.array([[1.0, 0.0], [0.0, SIZE]])
    max_norms = np.geomspace(1, SIZE, 20)
    mean = _angle(np.array([1, SIZE]))
    angles = [mean - _angle(np.asarray(_average(gradients, v))) for v in max_norms]
    expected = np.degrees(np.arctan(SIZE) - np.arctan(max_norms))
    np.testing.assert_allclose(angles, expected, atol=1e-4)
    assert np.all(np.diff(angles) < 0)


def test_nothing_is_clipped_above_every_norm():
    ordinary, large = bias.examples(0.1, SIZE)
    both = jnp.concatenate([ordinary, large])
    highest = jnp.max(jnp.linalg.norm(both, axis=1))
    average = _average(both, 1.001 * highest)
    np.testing.assert_allclose(average, np.mean(both, axis=0), rtol=1e-4, atol=1e-6)
    assert not np.allclose(_average(both, 0.5 * highest), average, rtol=0.01)


def test_the_expected_gradient_is_zero_between_two_targets(seen):
    """Chen et al. (2020): targets of -3 and 3, clipped at 1."""
    places = np.array(seen["places"])
    clipped = np.clip(places + 3, -1, 1) / 2 + np.clip(places - 3, -1, 1) / 2
    found = np.array(seen["expected_gradient"]["average_of_clipped"])
    np.testing.assert_allclose(found, clipped, atol=1e-6)
    np.testing.assert_array_equal(abs(found) < 1e-7, abs(places) <= 2)
    bounded = seen["expected_gradient"]["clipped_average"]
    np.testing.assert_allclose(bounded, np.clip(places, -1, 1), atol=1e-6)


def _factors(gradients: np.ndarray, threshold: float) -> np.ndarray:
    norms = np.linalg.norm(gradients, axis=1)
    return np.minimum(1, threshold * np.median(norms) / norms)


@pytest.mark.parametrize("i", [0, 24, 36, 60])
def test_the_record_says_what_the_formula_does(seen, i):
    threshold = seen["thresholds"][i]
    for part in seen["shares"]:
        both = np.concatenate(bias.examples(part["share"], SIZE))
        average, mean = _factors(both, threshold) @ both, both.mean(axis=0)
        cosine = average @ mean / np.linalg.norm(average) / np.linalg.norm(mean)
        found = np.cos(np.radians(part["angle"][i]))
        np.testing.assert_allclose(found, cosine, rtol=1e-5)
        assert part["angle_of_clipped_average"][i] < 1e-4
    for part in seen["sizes"]:
        ordinary, large = bias.examples(bias.SHARE, part["size"])
        factors = _factors(np.concatenate([ordinary, large]), threshold)
        usual, kept = np.split(factors, [len(ordinary)])
        np.testing.assert_allclose(part["weight"][i], kept.mean() / usual.mean(), 1e-5)


def test_large_examples_lose_weight_as_the_threshold_falls(seen):
    for part in seen["sizes"]:
        weight = np.array(part["weight"])
        assert np.all(np.diff(weight) > -1e-5)
        assert weight[0] < 1.1 / part["size"]
        np.testing.assert_allclose(weight[-1], 1, rtol=1e-3)


def test_the_picture_and_the_table_show_the_record(seen, tmp_path):
    weights, angles, gradients = picture.draw(seen).axes
    for axes, parts, key in (
        (weights, seen["sizes"], "weight"),
        (angles, seen["shares"], "angle"),
    ):
        drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
        assert all(part[key] in drawn for part in parts)
    assert len(gradients.lines) == 3
    assert picture.write(seen, tmp_path / "picture.png").exists()
    rows = tables.angles([seen]).splitlines()
    cells = [cell.strip() for cell in rows[4].strip("|").split("|")]
    assert cells[0] == "1"
    assert cells[3] == f"{seen['shares'][2]['angle'][20]:.1f}°"
    assert "from -2 to 2, though the minimum is at 0" in rows[-3]

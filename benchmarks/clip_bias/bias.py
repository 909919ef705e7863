"""How the average of clipped gradients differs from the clipped average.

Examples are of two kinds. The gradient of an ordinary one is a unit vector and noise of
norm 1; that of a large one the same, in a direction at right angles and 10 times as
long. As the threshold of `clip_per_example` falls, the average turns away from that of
the gradients as they are, by the *angle*: the large ones lose weight. The *weight* is
the mean factor of the large examples over that of the ordinary ones, where a tenth is
large. The average that `clip_by_global_norm` bounds keeps its direction. Thresholds are
in units of the median norm of the examples.

    python -m benchmarks.clip_bias.bias
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

import optax_ltd as ltd
from benchmarks import records
from benchmarks.clip_bias import picture

COUNT, DIMENSION, SIZE, SHARE = 1000, 50, 10.0, 0.1
SHARES = (0.01, 0.03, 0.1, 0.3)
SIZES = (3.0, 10.0, 30.0)
THRESHOLDS = [float(x) for x in np.geomspace(0.1, 100, 61)]
TARGETS = (-3.0, 3.0)
PLACES = [float(x) for x in np.linspace(-5, 5, 81)]


def examples(share: float, size: float) -> tuple[jax.Array, jax.Array]:
    """Gradients of examples.

    Args:
      share: of large examples.
      size: how many times larger they are.

    Returns:
      The ordinary and the large ones, [n, DIMENSION] each.
    """
    noise = np.random.default_rng(0).normal(size=(COUNT, DIMENSION))
    gradients = noise / np.sqrt(DIMENSION)
    large = round(share * COUNT)
    gradients[large:, 0] += 1
    gradients[:large, 1] += 1
    gradients[:large] *= size
    return jnp.asarray(gradients[large:], "f"), jnp.asarray(gradients[:large], "f")


def average_of_clipped(gradients: jax.Array, max_norm: Any) -> tuple[Any, Any]:
    """What `clip_per_example` makes of a batch, and the mean of the factors."""
    tx = ltd.clip_per_example(max_norm)
    mean, state = tx.update(gradients, tx.init(gradients[0]))
    return mean, cast(Any, state).record.scale


def clipped_average(gradients: jax.Array, max_norm: Any) -> Any:
    """What `clip_by_global_norm` makes of the mean of a batch."""
    tx = ltd.clip_by_global_norm(max_norm)
    mean = jnp.mean(gradients, axis=0)
    return tx.update(mean, tx.init(mean))[0]


# At many thresholds at once; compiled once for each size of batch.
_averages_of_clipped = jax.jit(jax.vmap(average_of_clipped, (None, 0)))
_clipped_averages = jax.jit(jax.vmap(clipped_average, (None, 0)))


def turning(share: float, size: float = SIZE) -> dict[str, Any]:
    """How far the average turns at each of the THRESHOLDS.

    Args:
      share: of large examples.
      size: how many times larger they are.

    Returns:
      The angles between the mean of the gradients and either average, in degrees.
    """
    gradients = jnp.concatenate(examples(share, size))
    mean = np.mean(np.asarray(gradients, float), axis=0)
    max_norms = _max_norms(gradients)
    clipped, _ = _averages_of_clipped(gradients, max_norms)
    return {
        "share": share,
        "angle": _angles(clipped, mean),
        "angle_of_clipped_average": _angles(
            _clipped_averages(gradients, max_norms), mean
        ),
    }


def weighing(size: float, share: float = SHARE) -> dict[str, Any]:
    """What weight the large examples keep at each of the THRESHOLDS.

    Args:
      size: how many times larger they are.
      share: of large examples.

    Returns:
      Their mean factor over that of the ordinary ones.
    """
    ordinary, large = examples(share, size)
    max_norms = _max_norms(jnp.concatenate([ordinary, large]))
    _, kept = _averages_of_clipped(large, max_norms)
    _, usual = _averages_of_clipped(ordinary, max_norms)
    return {"size": size, "weight": np.asarray(kept / usual, float).tolist()}


def expected_gradient() -> dict[str, list[float]]:
    """The mean gradient of half the squared distance to one of two TARGETS.

    Returns:
      At each of PLACES, with each example clipped at 1 and with the mean clipped at 1.
    """

    def at(place: jax.Array) -> tuple[jax.Array, jax.Array]:
        gradients = (place - jnp.asarray(TARGETS))[:, None]
        mean, _ = average_of_clipped(gradients, 1.0)
        return mean[0], clipped_average(gradients, 1.0)[0]

    clipped, bounded = jax.jit(jax.vmap(at))(jnp.asarray(PLACES))
    return {
        "average_of_clipped": np.asarray(clipped, float).tolist(),
        "clipped_average": np.asarray(bounded, float).tolist(),
    }


def run() -> dict[str, Any]:
    """Measures everything and returns the record."""
    config = {"examples": COUNT, "dimension": DIMENSION}
    return {
        "benchmark": "clip_bias",
        "case": {},
        "environment": records.environment(),
        "config": config,
        "thresholds": THRESHOLDS,
        "shares": [turning(share) for share in SHARES],
        "sizes": [weighing(size) for size in SIZES],
        "places": PLACES,
        "targets": list(TARGETS),
        "expected_gradient": expected_gradient(),
    }


def _max_norms(gradients: jax.Array) -> jax.Array:
    """The THRESHOLDS as norms: in units of the median norm of gradients [n, d]."""
    median = jnp.median(jnp.linalg.norm(gradients, axis=1))
    return median * jnp.asarray(THRESHOLDS)


def _angles(vectors: Any, mean: np.ndarray) -> list[float]:
    """Degrees between vectors [n, d] and one more."""
    vectors = np.asarray(vectors, float)
    across = vectors - np.outer(vectors @ mean, mean) / (mean @ mean)
    along = vectors @ mean / np.linalg.norm(mean)
    # Not by the cosine, in which a small angle is lost.
    angles = np.arctan2(np.linalg.norm(across, axis=1), along)
    return np.degrees(angles).tolist()


if __name__ == "__main__":
    entry = run()
    print(records.write(entry))
    print(picture.write(entry))

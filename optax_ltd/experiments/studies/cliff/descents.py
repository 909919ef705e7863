"""Descents on the loss of a recurrent net with two parameters, which has a cliff."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_ltd as ltd
from optax_ltd.experiments.training.environment import environment

LENGTH = 50
FIRST_STATE = 0.5
TARGET = 0.7

W_RANGE = (4.0, 6.5)
B_RANGE = (-3.4, -1.8)
_PIXELS = 401  # of the surface, along each parameter
_STARTS = 25  # of the other descents, along each parameter

START = (5.5, -2.2)
LEARNING_RATE = 0.1
MAX_NORM = 1.0
UPDATES = 1000
SOLVED_BELOW = 1e-3  # a loss; |σ(x) - 0.7| is then below 0.032


class Descent(NamedTuple):
    """The path of one descent.

    Attributes:
      points: w and b before the first update and after each, float [updates + 1, 2].
      losses: the loss there, float [updates + 1].
      gradient_norms: the norm of its gradient there, float [updates + 1].
    """

    points: np.ndarray
    losses: np.ndarray
    gradient_norms: np.ndarray


class Outcome(NamedTuple):
    """What a descent came to, and others like it from elsewhere in the picture.

    Attributes:
      largest_norm: of the gradients on the path.
      farthest: w and b of the point farthest from the start.
      left_at: update that first led out of the picture; None if none did.
      final_loss: loss after the last update.
      starts: starts spread evenly over the picture.
      left: how many of them led out of it.
      solved: how many of them ended with a loss below `SOLVED_BELOW`.
    """

    largest_norm: float
    farthest: tuple[float, float]
    left_at: int | None
    final_loss: float
    starts: int
    left: int
    solved: int


class Cliff(NamedTuple):
    """The surface, and what descents on it came to.

    Attributes:
      w: float [W].
      b: float [B].
      losses: float [B, W].
      descents: from `START`, by the name of the method.
      outcomes: by the name of the method.
    """

    w: np.ndarray
    b: np.ndarray
    losses: np.ndarray
    descents: Mapping[str, Descent]
    outcomes: Mapping[str, Outcome]

    def record(self) -> dict[str, Any]:
        """What is kept of it, and where it was made; no surface and no path."""
        return {
            "environment": environment(),
            "start": START,
            "learning_rate": LEARNING_RATE,
            "max_norm": MAX_NORM,
            "updates": UPDATES,
            "solved_below": SOLVED_BELOW,
            "outcomes": {name: o._asdict() for name, o in self.outcomes.items()},
        }


def loss(w: jax.typing.ArrayLike, b: jax.typing.ArrayLike) -> jax.Array:
    r"""The loss of a net of one sigmoid unit, without inputs, after 50 steps.

    .. math:: x_t = w \, \sigma(x_{t-1}) + b, \quad x_0 = 0.5, \quad
       E = (\sigma(x_{50}) - 0.7)^2

    As Pascanu, Mikolov and Bengio (2013) have it for their figure 6, of which start,
    learning rate and threshold are not known. From w = 4.3 on, the state has two
    attractors and goes to one or the other as b lies on this or that side of
    b = 0.5 - w σ(0.5): the cliff. The loss is 0 along b = σ⁻¹(0.7) - 0.7 w, a valley
    that meets the cliff at w = 4.5.

    Args:
      w: the recurrent weight, float [].
      b: the bias, float [].

    Returns:
      The loss, float [].
    """
    weight, bias = jnp.asarray(w, float), jnp.asarray(b, float)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return weight * jax.nn.sigmoid(x) + bias, None

    first = jnp.full_like(bias, FIRST_STATE)
    last, _ = jax.lax.scan(step, first, None, LENGTH)
    return (jax.nn.sigmoid(last) - TARGET) ** 2


def surface(w: jax.typing.ArrayLike, b: jax.typing.ArrayLike) -> jax.Array:
    """The loss at each pair of parameters.

    Args:
      w: float [W].
      b: float [B].

    Returns:
      Losses [B, W].
    """
    rows = jax.vmap(loss, in_axes=(0, None))
    return jax.vmap(rows, in_axes=(None, 0))(jnp.asarray(w), jnp.asarray(b))


def descend(
    tx: optax.GradientTransformation, start: jax.typing.ArrayLike, updates: int
) -> Descent:
    """Goes down from a start.

    Args:
      tx: what makes updates of gradients.
      start: w and b, float [2].
      updates: how many to make.

    Returns:
      The path, in JAX's arrays.
    """
    measure = jax.value_and_grad(lambda point: loss(*point))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        point, state = carry
        value, gradient = measure(point)
        update, state = tx.update(gradient, state, point)
        seen = point, value, ltd.global_norm(gradient)
        return (optax.apply_updates(point, update), state), seen

    first = jnp.asarray(start, float)
    _, path = jax.lax.scan(step, (first, tx.init(first)), None, updates + 1)
    return Descent(*path)


def cliff() -> Cliff:
    """Computes the surface and goes down on it with and without a clip.

    Rate and threshold were chosen from 0.03, 0.1, 0.3 and 0.1, 0.3, 1 by descents
    from all over the picture: 0.1 is the smallest rate with which nearly all
    clipped descents find the solution in 1000 updates, and 1 the smallest threshold
    with which those with a random step do too. `START` is one from which a single
    update throws plain descent out of the picture, in float32 as in float64. How many
    others do is counted in the outcomes, from starts all over the picture.

    Returns:
      What came out, by the names "SGD", "SGD + clip" and "SGD + random step".
    """
    w, b = np.linspace(*W_RANGE, _PIXELS), np.linspace(*B_RANGE, _PIXELS)
    grid = np.meshgrid(*(_middles(*ends) for ends in (W_RANGE, B_RANGE)))
    starts = np.stack(grid, -1).reshape(-1, 2)
    guards = {
        "SGD": optax.identity(),
        "SGD + clip": ltd.clip_by_global_norm(MAX_NORM),
        "SGD + random step": ltd.clip_by_global_norm(
            MAX_NORM, above="random_step", key=0
        ),
    }
    descents, outcomes = {}, {}
    for name, guard in guards.items():
        tx = optax.chain(guard, optax.sgd(LEARNING_RATE))
        paths = jax.jit(jax.vmap(lambda start, tx=tx: descend(tx, start, UPDATES)))(
            np.concatenate([[START], starts])
        )
        paths = Descent(*map(np.asarray, paths))
        descents[name] = Descent(*(values[0] for values in paths))
        others = Descent(*(values[1:] for values in paths))
        outcomes[name] = _outcome(descents[name], others)
    losses = np.asarray(jax.jit(surface)(w, b))
    return Cliff(w, b, losses, descents, outcomes)


def _middles(low: float, high: float) -> np.ndarray:
    """The middles of as many equal parts as there are starts along a parameter."""
    return low + (high - low) * (np.arange(_STARTS) + 0.5) / _STARTS


def _outcome(one: Descent, others: Descent) -> Outcome:
    outside = _outside(one.points)
    distances = np.linalg.norm(one.points - one.points[0], axis=-1)
    w, b = one.points[np.argmax(distances)].tolist()
    return Outcome(
        largest_norm=float(one.gradient_norms.max()),
        farthest=(w, b),
        left_at=int(outside.argmax()) if outside.any() else None,
        final_loss=float(one.losses[-1]),
        starts=len(others.points),
        left=int(_outside(others.points).any(axis=1).sum()),
        solved=int((others.losses[:, -1] < SOLVED_BELOW).sum()),
    )


def _outside(points: np.ndarray) -> np.ndarray:
    """Which points [..., 2] lie outside the picture."""
    low, high = np.array([W_RANGE, B_RANGE], points.dtype).T
    return ~((low <= points) & (points <= high)).all(axis=-1)

"""Schedules of the momentum that let plain SGD follow long dependencies."""

from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import check_choice, check_count, check_number

Kind: TypeAlias = Literal["hold", "rise"]

# The first momentum, and the updates until it changes, of Sutskever et al.
_PUBLISHED = {"hold": (0.9, 1000), "rise": (0.5, 250)}
_MOST_STEPS = 2**31 - 1  # of an int32


def momentum_schedule(
    momentum: jax.typing.ArrayLike,
    *,
    kind: Kind = "hold",
    first_momentum: jax.typing.ArrayLike | None = None,
    steps: int | None = None,
) -> optax.Schedule:
    r"""A momentum that begins small, as learning with a large one needs it to.

    With ``kind="hold"`` it is ``first_momentum`` in the first ``steps`` updates and
    ``momentum`` from then on, as for the recurrent nets of Sutskever et al. With
    ``kind="rise"`` it follows their equation 5, up to ``momentum``:

    .. math::
      \mu_t = \min(1 - 2^{-1 - \log_2(\lfloor t / 250 \rfloor + 1)}, \mu_{max})
            = \min(1 - \tfrac{1}{2} / (\lfloor t / 250 \rfloor + 1), \mu_{max})

    with ``steps`` in place of 250 and ``1 - first_momentum`` in place of 1/2.

    What ``optax.sgd(nesterov=True)`` makes of it: the paper's gradient is taken at a
    point ahead of the parameters, :math:`\theta_t + \mu_t v_t`, of which Optax has no
    need, as *its parameters are these points*. With a constant momentum and a constant
    learning rate both make the same steps, and the paper's parameters are Optax's plus
    ``learning_rate * momentum * trace``. Where the momentum changes, Optax looks ahead
    by that of the update just made, the paper by that of the next one: in that update
    alone, Optax's point lies :math:`(\mu_{t+1} - \mu_t) v_{t+1}` behind. Where the
    learning rate changes, Optax scales the whole velocity with it, the paper only what
    the new gradient adds.

    In bfloat16 the nearest number to a momentum above .998 is 1, which would forget
    nothing; in float32 it is to one above 1 - 3e-8. With parameters in bfloat16 say
    ``hyperparam_dtype=jnp.float32`` and ``static_args="accumulator_dtype"`` to
    ``optax.inject_hyperparams``, and ``accumulator_dtype=jnp.float32`` to
    ``optax.sgd``.

    Args:
      momentum: What it is in the end, at least 0 and below 1: the paper's
        :math:`\mu_0`, or :math:`\mu_{max}`.
      kind: How it gets there, ``"hold"`` or ``"rise"``.
      first_momentum: What it is in the beginning, at least 0 and below 1. By default
        the paper's: .9 to hold, .5 to rise from.
      steps: Updates until it changes, and from one rise to the next; from 1 to
        2³¹ - 1. By default the paper's: 1000 to hold, 250 for each rise.

    Returns:
      A function of the number of updates made before, an int or an integer array, that
      gives the momentum as a float array of the same shape.

    Raises:
      ValueError: If an argument is out of range.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_ltd as ltd
      >>> rise = ltd.momentum_schedule(0.995, kind="rise")
      >>> [round(float(rise(t)), 3) for t in (0, 249, 250, 500, 100_000)]
      [0.5, 0.5, 0.75, 0.833, 0.995]
      >>> tx = optax.inject_hyperparams(optax.sgd)(
      ...     learning_rate=1e-3,
      ...     momentum=ltd.momentum_schedule(0.995, steps=2),
      ...     nesterov=True,
      ... )
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = jax.jit(tx.update)(params, state, params)
      ...     params = optax.apply_updates(params, updates)
      ...     print(state.hyperparams["momentum"])
      0.9
      0.9
      0.995

    References:
      Sutskever, Martens, Dahl and Hinton, *On the importance of initialization and
      momentum in deep learning*, ICML 2013.
    """
    check_choice("kind", kind, get_args(Kind))
    first, every = _PUBLISHED[kind]
    if first_momentum is not None:
        first = check_number("first_momentum", first_momentum, at_least=0, below=1)
    if steps is not None:
        every = check_count("steps", steps, at_least=1, at_most=_MOST_STEPS)
    last = check_number("momentum", momentum, at_least=0, below=1)

    dtype = jnp.result_type(first, last, float)

    def hold(count: jax.typing.ArrayLike) -> jax.Array:
        return jnp.where(_wide(count) < every, first, last).astype(dtype)

    def rise(count: jax.typing.ArrayLike) -> jax.Array:
        # Eq. (5), as 2^(-1 - log2(n)) = 1 / (2 n).
        number = (_wide(count) // every).astype(float) + 1
        return jnp.minimum(1 - (1 - first) / number, last).astype(dtype)

    return hold if kind == "hold" else rise


def _wide(count: jax.typing.ArrayLike) -> jax.Array:
    """A count in a dtype that holds the largest number of steps."""
    count = jnp.asarray(count)
    return count if count.dtype.itemsize >= 4 else count.astype(jnp.int32)

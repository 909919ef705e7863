"""Replace a gradient that is Inf or NaN."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import check_choice, check_nonnegative
from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._transforms._key import SeedOrKey, check_key, check_no_key, raw_key
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._random_step import Direction, random_step
from optax_ltd._transforms._rescale import map_inexact
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)

Fallback: TypeAlias = Literal["random", "zero", "shrink"]


class NonfiniteRandomStepState(NamedTuple):
    """State of `nonfinite_random_step`.

    Attributes:
      record: what was seen.
      key: raw PRNG key; `None` unless ``fallback="random"``.
    """

    record: GradientRecord
    key: jax.Array | None


def nonfinite_random_step(
    step_size: jax.typing.ArrayLike | None = None,
    *,
    key: SeedOrKey | None = None,
    fallback: Fallback = "random",
    direction: Direction = "signs",
    shrink_rate: jax.typing.ArrayLike = 0.02,
    shrink_mask: Any | Callable[[Any], Any] | None = None,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Replaces the whole gradient if an entry of it is Inf or NaN.

    .. math::
      g \leftarrow \begin{cases}
        v \, u & \text{if an entry of } g \text{ is Inf or NaN} \\
        g & \text{otherwise, bit for bit}
      \end{cases}

    with u a random direction of norm 1. A step away in any direction usually
    leaves the region where the gradient cannot be computed. `fallback` picks what
    takes the gradient's place:

    - `"random"`: a random step. ``direction="signs"`` gives each of the N real
      entries the size :math:`v/\sqrt N` and a random sign. It costs one random bit
      an entry, and nothing in a step that does not need it, except under `jax.vmap`,
      which runs both branches of a condition: there every step draws its bits.
      ``direction="sphere"`` is uniform over the sphere: for those who need a step
      that does not depend on the axes, as in a study of the method. It holds a second
      gradient in memory and costs several passes over it in every step, whether it is
      needed or not; with 40 leaves of 1,024 entries, a step that was taken took 3
      times as long on a CPU, and longer to compile.
      Each entry is rounded to its leaf's dtype, so that the norm is exact to
      :math:`2^{-24}` for float32, to :math:`2^{-8}` for bfloat16, and to
      :math:`2^{-11}` for float16 while :math:`v/\sqrt N` is above 6e-5. Steps are
      a function of the key and the number of the update: replicas agree, and no
      two updates share a direction.
    - `"zero"`: a gradient of zero. That is no step for plain SGD alone: momentum goes
      on, and adam's moments decay and move the parameters. `skip_steps`, around the
      optimiser, leaves both as they are.
    - `"shrink"`: :math:`g \leftarrow \rho\,\theta` for the parameters that
      `shrink_mask` selects and 0 for the others, so that descent pulls their
      weights towards 0. The code of Pascanu et al. does this, with
      :math:`\rho = 0.02`, to the recurrent matrix alone, the one that lets gradients
      explode. Which parameter that is cannot be told from here: by default
      all shrink, and a mask restores the original. Needs `params` in `update`.

    With `optax.MultiSteps`, put this before it, in a chain: what takes the place of a
    bad micro-batch is then a part of the average, a zero too. `skip_steps` around it
    averages good ones alone. Inside, a guard comes too late: Optax clears its sum of
    gradients by a product with 0, so that a NaN in it stays, and every later step is
    replaced.

    Args:
      step_size: norm v of the random step, finite and at least 0; required by
        ``fallback="random"``. The other fallbacks have no use for it.
      key: an int or a PRNG key; required by ``fallback="random"`` and to be left out
        otherwise.
      fallback: `"random"`, `"zero"` or `"shrink"`.
      direction: of the random step, `"signs"` or `"sphere"`.
      shrink_rate: the rate :math:`\rho`, finite and at least 0.
      shrink_mask: a tree of bools with the structure of the parameters or a prefix
        of it, or a function from the parameters to such a tree, as in
        `optax.masked`: a tree of bools that can be called is a tree. Under
        `optax.inject_hyperparams` name it in `static_args`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient is split; see `global_norm`. A random step then has its norm
        over all parts, and differs from part to part.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `NonfiniteRandomStepState`.

    Raises:
      ValueError: a number is negative, infinite, NaN or no number; a choice is
        unknown; `step_size` or `key` is missing; `key` is no key, or is given to a
        fallback that draws nothing; `axis_name` is no name. An array is judged by its
        shape and dtype alone. From `update`: ``fallback="shrink"`` without `params`,
        or with `params` of another structure than the gradient's.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> bad = jnp.array([jnp.inf, 0.0, 0.0, 1.0])
      >>> tx = ltd.nonfinite_random_step(1.0, key=0)
      >>> update, state = tx.update(bad, tx.init(bad))
      >>> print(abs(update))
      [0.5 0.5 0.5 0.5]
      >>> tx = ltd.nonfinite_random_step(fallback="shrink")
      >>> update, state = tx.update(bad, tx.init(bad), params=jnp.full(4, 100.0))
      >>> print(update)
      [2. 2. 2. 2.]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 2016, section 10.11.1.

      Pascanu, Mikolov, Bengio, *On the difficulty of training recurrent neural
      networks*, ICML 2013, and its code, https://github.com/pascanur/trainingRNNs.
    """
    random = fallback == "random"
    check_choice("fallback", fallback, get_args(Fallback))
    check_choice("direction", direction, get_args(Direction))
    if random or step_size is not None:
        step_size = check_nonnegative("step_size", step_size)
    shrink_rate = check_nonnegative("shrink_rate", shrink_rate)
    key = (
        check_key("key", key) if random else check_no_key("key", key, f"{fallback=!r}")
    )
    axes = check_axis_name(axis_name)

    def init(params: Any) -> NonfiniteRandomStepState:
        del params
        words = None if key is None else raw_key(key)
        return NonfiniteRandomStepState(init_record(), words)

    def update(
        updates: Any,
        state: NonfiniteRandomStepState,
        params: Any = None,
        **extra_args: Any,
    ) -> tuple[Any, NonfiniteRandomStepState]:
        del extra_args
        shrunk = None
        if fallback == "shrink":
            shrunk = _shrunk(updates, params, shrink_mask)
        return in_one_program(
            _update,
            updates,
            state,
            None if shrunk is None else params,
            step_size=step_size,
            direction=direction,
            shrink_rate=shrink_rate,
            shrunk=shrunk,
            axes=axes,
        )

    return transformation(init, update)


def _update(
    updates: Any,
    state: NonfiniteRandomStepState,
    params: Any,
    *,
    step_size: jax.typing.ArrayLike | None,
    direction: Direction,
    shrink_rate: jax.typing.ArrayLike,
    shrunk: tuple[bool, ...] | None,
    axes: Axes,
) -> tuple[Any, NonfiniteRandomStepState]:
    measured = tree_norm(updates, axes)
    finite, record = measured.finite, state.record
    if state.key is not None:
        substitutes = random_step(
            state.key,
            record.total_count,
            updates,
            step_size,
            needed=~finite,
            direction=direction,
            axes=axes,
        )
    elif shrunk is not None:
        substitutes = _shrink(updates, params, shrink_rate, shrunk)
    else:
        substitutes = [0] * len(jax.tree.leaves(updates))
    new_updates = _replace(updates, substitutes, unless=finite)
    scale = jnp.where(finite, 1, 0)
    record = update_record(
        record, updates, measured, scale=scale, clipped=jnp.zeros_like(finite)
    )
    return new_updates, NonfiniteRandomStepState(record, state.key)


def _replace(updates: Any, substitutes: list[Any], *, unless: jax.Array) -> Any:
    return map_inexact(
        lambda leaf, other: jnp.where(
            unless, leaf, jnp.asarray(other).astype(leaf.dtype)
        ),
        updates,
        substitutes,
    )


def _shrunk(updates: Any, params: Any, mask: Any) -> tuple[bool, ...]:
    """Which leaves the mask lets shrink; all must have their parameters."""
    if params is None and jax.tree.leaves(updates):
        raise ValueError(
            '`params` must be given to `update` with fallback="shrink", which '
            "replaces the gradient by a multiple of them; got None."
        )
    required, came = jax.tree.structure(updates), jax.tree.structure(params)
    if came != required:
        raise ValueError(
            f"`params` must have the structure of the updates, {required}; got {came}."
        )
    # A tree of flags may be callable too, as a module is; its leaves are not.
    by_function = callable(mask) and all(map(callable, jax.tree.leaves(mask)))
    selected = mask(params) if by_function else mask
    if selected is None:
        return (True,) * required.num_leaves
    spread = jax.tree.map(
        lambda choice, part: jax.tree.map(lambda _: choice, part), selected, params
    )
    return tuple(map(bool, jax.tree.leaves(spread)))


def _shrink(
    updates: Any, params: Any, rate: jax.typing.ArrayLike, shrunk: tuple[bool, ...]
) -> list[Any]:
    """The gradient rate * params of the leaves that shrink."""
    leaves = jax.tree.leaves(updates)
    rows = zip(leaves, jax.tree.leaves(params), shrunk, strict=True)
    return [
        rate * param.astype(leaf.dtype) if choice and is_inexact(leaf) else 0
        for leaf, param, choice in rows
    ]

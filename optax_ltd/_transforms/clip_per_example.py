"""Clip the norm of the gradient of each example and average."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from optax_ltd._numerics.checks import check_nonnegative
from optax_ltd._numerics.dtypes import is_inexact, real_dtype
from optax_ltd._numerics.layouts import laid_out, layout
from optax_ltd._numerics.shards import Axes, AxisName, check_axis_name
from optax_ltd._numerics.tree_norm import TreeNorm, tree_norm
from optax_ltd._transforms._one_program import in_one_program
from optax_ltd._transforms._rescale import map_inexact, rescaling, threshold_in
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    leaf_paths,
    path_checksum,
    update_record,
)


class ClipPerExampleState(NamedTuple):
    """State of `clip_per_example`.

    Attributes:
      record: what was seen, one entry for each batch. Its norm is the median of the
        examples' norms, which is what the threshold is to be compared with (of an
        even number the lower of the middle two). Its scale is the mean of the
        examples' factors, its count of clipped gradients that of batches in which
        any example was, and its recent clips are shares of the examples.
    """

    record: GradientRecord


def clip_per_example(
    max_norm: jax.typing.ArrayLike,
    *,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Bounds the norm of each example's gradient and takes their mean.

    .. math:: g \leftarrow \frac{1}{B} \sum_i g_i \min\Big(1, \frac{v}{\|g_i\|}\Big)

    with the norm of an example over all leaves. Every leaf of the gradient that comes
    in has a leading axis of examples, as `jax.vmap` of `jax.grad` gives it; the one
    that goes out has not, so that this transformation comes first in a chain. No
    single example can then move the batch's mean by more than v/B. It is the
    aggregation of differentially private training without its noise.

    The mean of clipped gradients is not the clipped mean, and not even parallel to
    the mean: examples above the threshold lose weight against the others. That bias
    can be useful, where what is large is wrong, or harmful: where it holds large
    examples against small ones of the other sign, descent comes to rest away from the
    minimum, however small its steps. It vanishes with the share of clipped examples.
    `clip_by_global_norm` bounds the mean and keeps its direction.

    Sums are formed in at least float32, and neither a norm nor the mean overflows or
    vanishes on the way, unless a threshold near the smallest number meets an entry
    near the largest. Of integer, bool and float0 leaves, which have no mean, the
    first example's entry goes on. A batch of no examples is a zero gradient.

    An example with an Inf or a NaN is not clipped: the mean is no longer finite, and
    the batch is counted apart. Put `nonfinite_random_step` behind this
    transformation to deal with it.

    Where it is the batch that `jax.shard_map` divides, the mean over all of it is
    `jax.lax.pmean` of what each device returns. `optax.MultiSteps` adds up
    gradients before it hands them on, and `optax.apply_if_finite` returns them in the
    shape in which they came: put these around what follows in the chain.

    In `metrics`, `norm` is the median of the examples' norms and `scale` the mean of
    their factors; `clipped_share` is the share of examples that was clipped, and
    `clipped_count` counts the batches with any.

    Args:
      max_norm: the largest norm v of an example's gradient, at least 0.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the gradient of each example is split; see `global_norm`.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `ClipPerExampleState`. Its
      update takes leaves [B, ...] and returns leaves [...] of the same dtypes.

    Raises:
      ValueError: `max_norm` is negative, NaN or no number, or `axis_name` is no name;
        an array is judged by its shape and dtype alone. From the update, if a leaf has
        no axis of examples, or not as many of them as the others have, or if `params`
        are given and a leaf has not the shape of its parameter behind that axis.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_ltd as ltd
      >>> def loss(w, x, y):
      ...     return (w @ x - y) ** 2 / 2
      >>> x, y = jnp.array([[3.0, 4.0], [4.0, 3.0]]), jnp.array([-20.0, -0.1])
      >>> w = jnp.zeros(2)
      >>> gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(w, x, y)
      >>> print(gradients)
      [[60.  80. ]
       [ 0.4  0.3]]
      >>> tx = optax.chain(ltd.clip_per_example(1.0), optax.sgd(1.0))
      >>> updates, state = tx.update(gradients, tx.init(w), w)
      >>> print(updates.round(6))
      [-0.5  -0.55]

    References:
      Abadi et al., *Deep learning with differential privacy*, CCS 2016.

      Goodfellow, Bengio, Courville, *Deep Learning*, 2016, section 10.11.1.

      Chen, Wu, Hong, *Understanding gradient clipping in private SGD: a geometric
      perspective*, NeurIPS 2020.

      Koloskova, Hendrikx, Stich, *Revisiting gradient clipping: stochastic bias and
      tight convergence guarantees*, ICML 2023.
    """
    max_norm = check_nonnegative("max_norm", max_norm, finite=False)
    axes = check_axis_name(axis_name)

    def init(params: Any) -> ClipPerExampleState:
        del params
        return ClipPerExampleState(init_record())

    def update(
        updates: Any, state: ClipPerExampleState, params: Any = None, **extra_args: Any
    ) -> tuple[Any, ClipPerExampleState]:
        del extra_args
        _check_shapes(updates, params)
        return in_one_program(_update, updates, state, max_norm=max_norm, axes=axes)

    return transformation(init, update)


def _update(
    updates: Any,
    state: ClipPerExampleState,
    *,
    max_norm: jax.typing.ArrayLike,
    axes: Axes,
) -> tuple[Any, ClipPerExampleState]:
    updates = _examples(updates)
    numbers = [leaf for leaf in jax.tree.leaves(updates) if is_inexact(leaf)]
    rows = [PartitionSpec(*layout(leaf)[1:]) for leaf in numbers]
    whole = PartitionSpec()
    average = functools.partial(_average, updates, axes)
    average = laid_out(average, numbers, (rows, whole, whole, whole))
    means, typical, scale, share = average(numbers, max_norm)
    record = update_record(state.record, updates, typical, scale=scale, clipped=share)
    new_updates = _with_numbers(updates, means, _first)
    return new_updates, ClipPerExampleState(record)


def _average(
    updates: Any, axes: Axes, numbers: list[jax.Array], max_norm: Any
) -> tuple[list[jax.Array], TreeNorm, jax.Array, jax.Array]:
    """The mean of each leaf of numbers, and what the record says of the batch.

    That is a typical norm, the mean factor, and the share that was clipped.
    """
    count = _example_count(updates)
    # The others keep their place alone: on an explicit mesh their layout would clash.
    examples = _with_numbers(updates, numbers, lambda leaf: np.zeros(count, bool))
    measure = functools.partial(tree_norm, axes=axes)
    norms = jax.vmap(measure, axis_size=count)(examples)
    rescale = rescaling(norms, max_norm)
    weights, unit = _weights(norms, rescale.clipped, max_norm)
    share = jnp.where(jnp.all(norms.finite), jnp.mean(rescale.clipped), 0)
    means = [_mean(leaf, weights, unit) for leaf in numbers]
    return means, _typical(norms), jnp.mean(rescale.scale), share


def _with_numbers(
    tree: Any, numbers: list[jax.Array], other: Callable[[Any], Any]
) -> Any:
    """The tree with these numbers in place of its own, and `other` of the rest."""
    left = iter(numbers)
    return jax.tree.map(
        lambda leaf: next(left) if is_inexact(leaf) else other(leaf), tree
    )


def _first(leaf: Any) -> Any:
    """The first example's entry of a leaf that has no mean."""
    if leaf.dtype == jax.dtypes.float0:
        return np.zeros(leaf.shape[1:], leaf.dtype)
    row = PartitionSpec(*layout(leaf)[1:])
    return laid_out(lambda leaf: leaf[0], [leaf], row)(leaf)


def _examples(updates: Any) -> Any:
    """The gradient of each example; a zero one if there is no example."""
    if _example_count(updates) == 0:
        updates = jax.tree.map(
            lambda leaf: np.zeros((1, *leaf.shape[1:]), leaf.dtype), updates
        )
    return map_inexact(jnp.asarray, updates)


def _example_count(updates: Any) -> int:
    """How many examples every leaf has; 1 if there is no leaf."""
    count, first = 1, None
    leaves = jax.tree.leaves(updates)
    for path, leaf in zip(leaf_paths(updates), leaves, strict=True):
        name = jax.tree_util.keystr(path) or "the only leaf"
        shape = jnp.shape(leaf)
        if not shape:
            raise ValueError(
                "`updates` must have a leading axis of examples on every leaf; got a "
                f"scalar for {name}. `jax.vmap(jax.grad(...))` adds that axis."
            )
        if first is None:
            count, first = shape[0], name
        elif shape[0] != count:
            raise ValueError(
                "`updates` must have as many examples on every leaf; got "
                f"{count} for {first} and {shape[0]} for {name}."
            )
    return count


def _check_shapes(updates: Any, params: Any) -> None:
    """Requires the shape of its parameter of each example's part of a leaf."""
    paths, others = leaf_paths(updates), leaf_paths(params)
    if [*map(path_checksum, paths)] != [*map(path_checksum, others)]:
        return  # Then it is not known which parameter is whose.
    rows = zip(paths, jax.tree.leaves(updates), jax.tree.leaves(params), strict=True)
    for path, leaf, param in rows:
        came, required = jnp.shape(leaf), jnp.shape(param)
        if came[1:] != required:
            name = jax.tree_util.keystr(path) or "the only leaf"
            raise ValueError(
                "`updates` must have a leading axis of examples on every leaf, in "
                f"front of the axes of its parameter; got shape {came} for {name}, "
                f"whose parameter has shape {required}. `jax.vmap(jax.grad(...))` "
                "adds that axis."
            )


def _weights(
    norms: TreeNorm, clipped: jax.Array, max_norm: Any
) -> tuple[jax.Array, jax.Array]:
    """What to multiply each example by, [B], in units of a power of two.

    An example need not be written anew for its weight, as it is part of the product
    that sums them. Neither the weights nor the products may leave their range for
    it: the unit brings the largest example, once clipped, near a fixed size.
    """
    info = jnp.finfo(norms.root.dtype)
    threshold = threshold_in(info.dtype, max_norm)
    sizes = jnp.where(clipped, threshold, norms.norm)
    # Beside an Inf there may be numbers of any size.
    largest = jnp.max(jnp.where(norms.finite, jnp.minimum(sizes, info.max), info.max))
    _, exponent = jnp.frexp(largest)
    end = int(info.maxexp)
    # Times the number of examples, the unit must have a reciprocal still.
    last = end - 3 - len(clipped).bit_length()
    power = jnp.minimum(3 * end // 4 - exponent, last)
    unit = jnp.ldexp(jnp.ones((), info.dtype), power)
    # The other `where` keeps what is not clipped out of the derivative.
    root = jnp.where(clipped, norms.root, 1)
    # The lift of a small example and the unit are large; their product is too large.
    late = norms.lift > 1
    factor = threshold * jnp.where(late, 1, unit) * norms.lift / root
    return jnp.where(clipped, factor * jnp.where(late, unit, 1), unit), unit


def _mean(leaf: jax.Array, weights: jax.Array, unit: jax.Array) -> jax.Array:
    """The weighted mean over the examples."""
    wide = leaf.astype(jnp.promote_types(leaf.dtype, weights.dtype))
    # A product, as a CPU sums over a leading axis far more slowly; in full precision.
    total = jnp.tensordot(weights.astype(wide.dtype), wide, 1, precision="highest")
    count = len(leaf)
    mean = total / (count * unit)
    # Rounded up, a mean of the largest numbers would overflow; the least less does not.
    slack = 1 + count * jnp.finfo(real_dtype(leaf.dtype)).eps
    lost = jnp.isfinite(total) & ~jnp.isfinite(mean)
    mean = jnp.where(lost, total / (count * unit * slack), mean)
    return mean.astype(leaf.dtype)


def _typical(norms: TreeNorm) -> TreeNorm:
    """The median of the norms, [B]; or the first one of a gradient not finite.

    One NaN makes it NaN, whatever the first one is.
    """
    bad = ~norms.finite
    median = jnp.argsort(norms.norm)[(len(bad) - 1) // 2]
    shown = jnp.where(jnp.any(bad), jnp.argmax(bad), median)
    found = jax.tree.map(lambda field: field[shown], norms)
    spoilt = jnp.any(jnp.isnan(norms.root))
    return found._replace(root=jnp.where(spoilt, jnp.nan, found.root))

"""How much tangent vectors grow along the trajectory of a recurrent cell."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_count, check_length, refusal
from optax_ltd._numerics.dtypes import is_inexact, widened
from optax_ltd._numerics.leaves import Leaves, combine, inexact, partition
from optax_ltd._recurrent.cell.program import as_pair
from optax_ltd._recurrent.flow.orthonormal import orthonormalised, resolution


def mean_growth(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    inputs: Any,
    length: int | None,
    *,
    num_exponents: int | None,
    warmup: int,
    qr_every: int,
    floored: bool = False,
) -> jax.Array:
    """The mean logarithm of the growth of each orthonormal tangent vector in a step.

    Args:
      cell_fn: as all that follow, of :func:`lyapunov_exponents`.
      params: of the cell.
      carry: the initial one.
      inputs: over time, or None.
      length: the number of steps, where there are no inputs.
      num_exponents: the number of vectors; None for as many as the state has numbers.
      warmup: steps that do not count.
      qr_every: steps from one QR decomposition to the next.
      floored: whether a vector that is lost to rounding counts as one that shrinks to
        just what rounding can tell from nothing.

    Returns:
      ``[B, num_exponents]``, in the order of the vectors.
    """
    params, carry, inputs = jax.tree.map(_as_array, (params, carry, inputs))
    vectors = _start(carry, num_exponents)
    length = check_length(inputs, length)
    if length < 1:
        raise refusal("length", "at least 1, be it that of `inputs`", length)
    due, counts = _schedule(length, warmup, qr_every)

    def orthonormal(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
        vectors, growth, lost = orthonormalised(vectors)
        floor = math.log(resolution(vectors))
        return vectors, jnp.where(lost, floor, growth) if floored else growth

    def step(at: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[Any, None]:
        carry, vectors, total, lost = at
        x, due, counts = now
        carry, vectors = _push(cell_fn, params, carry, vectors, x)
        if qr_every == 1:
            vectors, growth = orthonormal(vectors)
        else:
            vectors, growth = jax.lax.cond(due, orthonormal, _as_they_are, vectors)
        total, lost = _add(total, lost, jnp.where(counts, growth, 0))
        # Its derivatives may be finite all the same: those of tanh at Inf are 0.
        total = jnp.where(_all_finite(carry), total, jnp.nan)
        return (carry, vectors, total, lost), None

    # Of each step the derivative keeps what it began with, a sixth of all that it
    # needs, and makes the rest again.
    step = jax.checkpoint(step, prevent_cse=False)
    none = jnp.zeros_like(vectors[:, 0])
    at, _ = jax.lax.scan(step, (carry, vectors, none, none), (inputs, due, counts))
    return at[2] / (length - warmup)


def _as_array(leaf: Any) -> jax.Array:
    """An array, floating ones in at least float32."""
    leaf = jnp.asarray(leaf)
    return widened(leaf) if is_inexact(leaf) else leaf


def _start(carry: Any, num_exponents: int | None) -> jax.Array:
    """Orthonormal columns ``[B, n, k]``, the same for each example."""
    hidden, _ = _parted(carry)
    batches = {x.shape[:1] for x in hidden}
    if len(batches) != 1 or batches == {()}:
        raise ValueError(
            "`carry` must have a floating leaf, and the same batch axis in front of "
            f"each; got leading axes {sorted(batches)}."
        )
    vector = jax.eval_shape(_as_vectors, hidden)
    batch, size = vector.shape
    count = size if num_exponents is None else num_exponents
    check_count("num_exponents", count, at_least=1, at_most=size)
    # Along the axes a vector could stay in a subspace that the map keeps to itself. In
    # any precision they are the same.
    drawn = jax.random.normal(jax.random.key(0), (size, count), jnp.float32)
    start = jnp.linalg.qr(drawn.astype(vector.dtype))[0]
    return jnp.broadcast_to(start, (batch, size, count))


def _schedule(length: int, warmup: int, qr_every: int) -> tuple[jax.Array, jax.Array]:
    """Which steps end with a QR decomposition, and the growth of which counts, [T]."""
    check_count("warmup", warmup, at_least=0, at_most=length - 1)
    check_count("qr_every", qr_every, at_least=1)
    done = jnp.arange(1, length + 1)
    due = (done % qr_every == 0) | (done == warmup) | (done == length)
    return due, done > warmup


def _all_finite(carry: Any) -> jax.Array:
    """Whether the state of each example is finite, [B, 1]."""
    hidden, _ = _parted(carry)
    return jnp.all(jnp.isfinite(_as_vectors(hidden)), axis=1, keepdims=True)


def _parted(carry: Any) -> tuple[Leaves, Leaves]:
    """The leaves of a carry that are the state, and the others."""
    leaves = jax.tree.leaves(carry)
    return partition(inexact(leaves), leaves)


def _push(
    cell_fn: Callable[..., Any], params: Any, carry: Any, vectors: jax.Array, x: Any
) -> tuple[Any, jax.Array]:
    """One step of the trajectory, and of the tangent vectors ``[B, n, k]`` along it.

    Examples do not see each other, so that one tangent of the whole batch, ``[B, n]``,
    is a tangent of each example.
    """
    leaves, tree = jax.tree.flatten(carry)
    is_hidden = inexact(leaves)
    hidden, rest = partition(is_hidden, leaves)

    def advance(hidden: Leaves) -> tuple[Leaves, Leaves]:
        old = jax.tree.unflatten(tree, combine(is_hidden, hidden, rest))
        new, _ = as_pair(cell_fn(params, old, x))
        _check_same(old, new)
        # A cell of its own precision may return a narrower carry than it was given.
        return _parted(jax.tree.map(lambda x, y: y.astype(x.dtype), old, new))

    # One linearisation for all of the vectors.
    new, jacobian, rest = jax.linearize(advance, hidden, has_aux=True)

    def along(vector: jax.Array) -> jax.Array:
        return _as_vectors(jacobian(_as_leaves(vector, hidden)))

    carry = jax.tree.unflatten(tree, combine(is_hidden, new, rest))
    return carry, jax.vmap(along, in_axes=-1, out_axes=-1)(vectors)


def _check_same(old: Any, new: Any) -> None:
    required, got = (jax.tree.map(jnp.shape, carry) for carry in (old, new))
    if required != got:
        raise ValueError(
            "the cell must return a carry of the structure and shapes it was given: "
            f"required {required}; got {got}."
        )


def _as_they_are(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    return vectors, jnp.zeros_like(vectors[:, 0])


def _add(total: jax.Array, lost: jax.Array, new: jax.Array) -> tuple[Any, Any]:
    """Kahan's sum: rounding would bias a plain one over very many like terms."""
    new = new - lost
    after = total + new
    lost = jnp.where(jnp.isfinite(after), (after - total) - new, 0)
    return after, lost


def _as_vectors(leaves: Leaves) -> jax.Array:
    """The state as ``[B, n]`` real numbers."""
    parts = [y for x in leaves for y in _real_parts(x)]
    return jnp.concatenate(
        [x.reshape(len(x), math.prod(x.shape[1:])) for x in parts], axis=1
    )


def _real_parts(x: jax.Array) -> list[jax.Array]:
    return [x.real, x.imag] if jnp.iscomplexobj(x) else [x]


def _as_leaves(vectors: jax.Array, like: Leaves) -> Leaves:
    """Undoes :func:`_as_vectors` for leaves of the shapes and dtypes of ``like``."""
    parts = [part for x in like for part in _real_parts(x)]
    ends = [math.prod(x.shape[1:]) for x in parts]
    cuts = [sum(ends[: i + 1]) for i in range(len(ends) - 1)]
    pieces = iter(
        piece.reshape(part.shape).astype(part.dtype)
        for piece, part in zip(jnp.split(vectors, cuts, axis=1), parts, strict=True)
    )
    return [
        jax.lax.complex(next(pieces), next(pieces))
        if jnp.iscomplexobj(x)
        else next(pieces)
        for x in like
    ]

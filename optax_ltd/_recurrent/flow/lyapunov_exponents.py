"""How fast the states of a recurrent cell part or meet along a trajectory."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import check_count, check_length
from optax_ltd._numerics.dtypes import is_inexact, widened
from optax_ltd._numerics.leaves import Leaves, combine, inexact, partition
from optax_ltd._recurrent.cell.program import as_pair


def lyapunov_exponents(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    inputs: Any = None,
    length: int | None = None,
    *,
    num_exponents: int | None = None,
    warmup: int = 0,
    qr_every: int = 1,
) -> jax.Array:
    r"""The Lyapunov spectrum of a recurrent cell along a trajectory, by the QR method.

    Where a gain says what one step does to the error signal of one loss, an exponent
    says what the product of all Jacobians does to every direction, whatever the loss:

    .. math:: \lambda_i = \lim_{T \to \infty} \frac{1}{T}
      \log \sigma_i(J_T \cdots J_1),
      \quad J_t = \frac{\partial h_t}{\partial h_{t-1}}

    with σ_i the singular values, largest first. If all are below 0 every error signal
    vanishes in the long run; those near 0 are directions along which it lasts; one
    above 0 lets it explode, and the dynamics are chaotic if they stay bounded.

    Orthonormal tangent vectors Q are carried along by ``jax.jvp`` and made orthonormal
    again, J_t Q_{t-1} = Q_t R_t; λ_i is the mean of log |R_t| at its i-th diagonal
    entry. Over a finite time this is exact for the sum of all exponents, while each of
    them errs by O(1/T) until the vectors are aligned: see ``warmup``. An example's
    exponents do not depend on the other examples.

    All is computed in at least float32: params, carry and inputs in half precision are
    widened first. Where two exponents differ by more than about 15 in float32 (35 in
    float64), rounding hides the lower one. ``jax.grad`` passes through.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``, as in :func:`unroll`. It treats
        each example of a batch alone.
      params: tree of arrays.
      carry: the initial carry, a tree of ``[B, ...]``. Its floating leaves together are
        the state of n numbers per example; a complex number counts as two. Other
        leaves are handed on.
      inputs: tree of ``[T, B, ...]``, or None for a cell that runs by itself.
      length: T, needed only where ``inputs`` has no leaf.
      num_exponents: how many exponents, the largest ones, from 1 to n; all n by
        default. The cost is that of as many forward passes, and of the QR.
      warmup: steps at the start whose growth is not counted, from 0 to T - 1, while the
        vectors turn into place and the state comes near its attractor.
      qr_every: steps between two QR decompositions. More is cheaper; but vectors that
        meet or grow too far in between lose their digits.

    Returns:
      ``[B, num_exponents]``, per step in natural logarithms, largest first; float32 or
      wider. A direction that a step maps to zero has -Inf, or what rounding leaves of
      it; all are NaN where the trajectory or its derivatives are not finite.

    Raises:
      ValueError: if an option is out of range, the carry has no floating leaf or one
        without the batch axis, or the cell returns no pair or changes the structure or
        shapes of the carry.

    Examples:
      Arnold's cat map stretches by the square of the golden ratio along one direction
      and shrinks as much along another; the logarithm of that square is 0.9624.

      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> cat_map = lambda A, h, x: (h @ A % 1, None)
      >>> A, start = jnp.array([[2.0, 1.0], [1.0, 1.0]]), jnp.array([[0.2, 0.3]])
      >>> ltd.lyapunov_exponents(cat_map, A, start, jnp.zeros((100, 1)), warmup=10)
      Array([[ 0.9624..., -0.9624...]], dtype=float32)

      A Flax cell is split into its structure and its parameters.

      >>> from flax import nnx
      >>> graphdef, params = nnx.split(nnx.GRUCell(3, 8, rngs=nnx.Rngs(0)))
      >>> cell_fn = lambda params, h, x: nnx.merge(graphdef, params)(h, x)
      >>> start, inputs = jnp.zeros((2, 8)), jnp.ones((50, 2, 3))
      >>> exponents = ltd.lyapunov_exponents(cell_fn, params, start, inputs)
      >>> exponents.shape, bool(exponents.max() < 0)
      ((2, 8), True)

    References:
      Benettin, Galgani, Giorgilli & Strelcyn, *Lyapunov characteristic exponents for
      smooth dynamical systems and for Hamiltonian systems*, Meccanica 15, 1980.

      Vogt, Puelma Touzel, Shlizerman & Lajoie, `On Lyapunov exponents for RNNs
      <https://arxiv.org/abs/2006.14123>`_, 2022.

      Engelken, Wolf & Abbott, `Lyapunov spectra of chaotic recurrent neural networks
      <https://arxiv.org/abs/2006.02427>`_, 2023.
    """
    params, carry, inputs = jax.tree.map(_as_array, (params, carry, inputs))
    vectors = _start(carry, num_exponents)
    due, counts = _schedule(check_length(inputs, length), warmup, qr_every)

    def step(at: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[Any, None]:
        carry, vectors, total, lost = at
        x, due, counts = now
        carry, vectors = _push(cell_fn, params, carry, vectors, x)
        vectors, growth = jax.lax.cond(due, _orthonormalised, _as_they_are, vectors)
        total, lost = _add(total, lost, jnp.where(counts, growth, 0))
        return (carry, vectors, total, lost), None

    none = jnp.zeros_like(vectors[:, 0])
    at, _ = jax.lax.scan(step, (carry, vectors, none, none), (inputs, due, counts))
    return jnp.sort(at[2] / jnp.sum(counts), descending=True)


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
    # Along the axes a vector could stay in a subspace that the map keeps to itself.
    drawn = jax.random.normal(jax.random.key(0), (size, count), vector.dtype)
    return jnp.broadcast_to(jnp.linalg.qr(drawn)[0], (batch, size, count))


def _schedule(length: int, warmup: int, qr_every: int) -> tuple[jax.Array, jax.Array]:
    """Which steps end with a QR decomposition, and the growth of which counts, [T]."""
    check_count("warmup", warmup, at_least=0, at_most=length - 1)
    check_count("qr_every", qr_every, at_least=1)
    done = jnp.arange(1, length + 1)
    due = (done % qr_every == 0) | (done == warmup) | (done == length)
    return due, done > warmup


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


def _orthonormalised(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Orthonormal columns that span the same, and the logarithms of their growth.

    From J_t Q_{t-1} = Q_t R_t follows J_T ⋯ J_1 Q_0 = Q_T (R_T ⋯ R_1). As each R_t is
    upper triangular, so is their product, and the first i columns span a volume of the
    product of its first i diagonal entries. That volume grows at the rate of the sum of
    the i largest exponents, and so λ_i is the mean of log |R_t| at entry i. Columns
    carried along without QR would all turn to the first direction; Q_t keeps the spans.
    """
    q, r = jnp.linalg.qr(vectors)
    return q, jnp.log(jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1)))


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

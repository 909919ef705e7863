"""Products of the Gauss-Newton matrix with vectors, by one linearisation for all."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import refusal
from optax_ltd._numerics.dtypes import widened
from optax_ltd._numerics.leaves import combine, inexact, partition
from optax_ltd._numerics.shards import (
    Axes,
    AxisName,
    check_axis_name,
    shard_count,
    split_axes,
    sum_over_shards,
    varying_axes,
)
from optax_ltd._second_order.parameter_space import (
    ParameterSpace,
    Vector,
    check_real,
    dot,
)


def gauss_newton_product(
    predict: Callable[[Any], Any],
    loss: Callable[[Any], jax.Array],
    params: Any,
    vector: Any,
    *,
    axis_name: AxisName = None,
) -> Any:
    r"""The product of the Gauss-Newton matrix with a vector.

    .. math:: G v = J^\top H_L J \, v, \quad
      J = \frac{\partial z}{\partial \theta}, \quad
      H_L = \frac{\partial^2 L}{\partial z^2}, \quad z = \text{predict}(\theta)

    It is the Hessian of the loss without the curvature of `predict`: of a network that
    is replaced by its linearisation. For a loss that is convex in z no product
    :math:`v^\top G v` is negative. No matrix is formed: a product costs about as much
    as a gradient. Under `jax.vmap` over vectors, `predict` is linearised once for all.

    Args:
      predict: takes the parameters and returns the outputs z for a batch, a tree of
        real arrays. It must have forward-mode derivatives: of a `FlowRNN` or `unroll`,
        one without Ω.
      loss: takes these outputs and returns a real scalar, convex in them. Targets,
        masks and the weights of a mean are in it.
      params: tree of real arrays θ. Integer leaves stay where they are.
      vector: tree like `params`.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which the batch is divided, with parameters and vector the same all along. The
        product is that of the mean of the loss over them.

    Returns:
      A tree like `vector`: each floating leaf of the parameters has its entries of the
      product there, in the dtype of the vector's leaf; others are those of
      `vector`. Sums are in at least float32, but vector and product pass through the
      dtype of the parameters' leaf.

    Raises:
      ValueError: `vector` is no tree like `params`, a leaf of either or of the outputs
        is complex, the loss is no real scalar, or `axis_name` is no name.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> x = jnp.array([[1.0, 0.0], [1.0, 2.0]])
      >>> predict = lambda w: x @ w
      >>> loss = lambda z: 0.5 * jnp.sum(z**2)
      >>> w, v = jnp.zeros(2), jnp.array([1.0, -1.0])
      >>> print(ltd.gauss_newton_product(predict, loss, w, v), x.T @ x @ v)
      [ 0. -2.] [ 0. -2.]

    References:
      Schraudolph, *Fast curvature matrix-vector products for second-order gradient
      descent*, Neural Computation 14(7), 2002.
    """
    space = ParameterSpace.of(params)
    along = space.vector("vector", vector)
    linear = linearise(predict, loss, space, check_axis_name(axis_name))
    return space.like(vector, linear.product(along))


@dataclasses.dataclass(frozen=True)
class Linearised:
    """A model and its loss about one point.

    Attributes:
      hidden: the hidden states' leaves, none where `predict` returns none.
      value: the loss.
      errors: its derivative by each floating leaf of the outputs.
      push: J, from a vector to tangents of outputs and of hidden states.
      pull: its transpose.
      curve: H_L, from tangents of outputs to cotangents.
      axes: those along which the examples are divided.
    """

    hidden: list[jax.Array]
    value: jax.Array
    errors: list[jax.Array]
    push: Callable[[Vector], tuple[list[jax.Array], list[jax.Array]]]
    pull: Callable[[list[jax.Array], list[jax.Array]], Vector]
    curve: Callable[[list[jax.Array]], list[jax.Array]]
    axes: Axes

    def product(
        self,
        vector: Vector,
        damp: Callable[[list[jax.Array]], list[jax.Array]] | None = None,
    ) -> Vector:
        """G v, with a term in the hidden states if there is one.

        Args:
          vector: v.
          damp: the Hessian of that term, from tangents of hidden states to cotangents.

        Returns:
          The product; both terms go back in one pass.
        """
        outputs, hidden = self.push(vector)
        zeros = [jnp.zeros_like(h) for h in hidden]
        return self.pull(self.curve(outputs), zeros if damp is None else damp(hidden))

    def half_curvature(self, vector: Vector) -> jax.Array:
        """½ vᵀ G v, which takes no pass back."""
        outputs, _ = self.push(vector)
        curved = self.curve(outputs)
        here = dot([*map(widened, outputs)], [*map(widened, curved)]) / 2
        return jax.lax.psum(here, self.axes) if self.axes else here


def linearise(
    predict: Callable[[Any], Any],
    loss: Callable[[Any], jax.Array],
    space: ParameterSpace,
    axes: Axes = (),
    *,
    returns_hidden: bool = False,
) -> Linearised:
    """Linearises a model, and the gradient of its loss in the outputs, once.

    Args:
      predict: the model.
      loss: the loss.
      space: the parameters.
      axes: those along which the examples are divided, each with a loss of its own.
      returns_hidden: whether the model returns a pair of outputs and hidden states.

    Returns:
      Both about this point.
    """

    def model(vector: Vector) -> Any:
        returned = predict(space.tree(vector))
        outputs, hidden = returned, ()
        if returns_hidden:
            outputs, hidden = _as_pair(returned)
            _check_examples(outputs, hidden)
        check_real("outputs", outputs)
        check_real("hidden", hidden)
        return (_floating(outputs), _floating(hidden)), outputs

    (moving, hidden), push, outputs = jax.linearize(model, space.point, has_aux=True)
    transposed = jax.linear_transpose(push, space.point)

    def loss_of(moving: list[jax.Array]) -> jax.Array:
        leaves, structure = jax.tree.flatten(outputs)
        flags = inexact(leaves)
        together = combine(flags, moving, partition(flags, leaves)[1])
        here = as_real_scalar("loss", loss(structure.unflatten(together)))
        return here / shard_count(here, axes)

    def pull(by_outputs: list[jax.Array], by_hidden: list[jax.Array]) -> Vector:
        (vector,) = transposed((by_outputs, by_hidden))
        # A transpose has added up what comes of parameters that do not vary along an
        # axis of which types tell; such a sum is whole.
        return sum_over_shards(vector, vector, axes)

    (value, errors), curve = jax.linearize(jax.value_and_grad(loss_of), moving)
    (value,) = sum_over_shards([value], [value], axes)
    divided = {axis for leaf in [*moving, *hidden] for axis in _along(leaf, axes)}
    # Where parameters vary without a name given, each part is a model of its own.
    apart = {axis for leaf in space.moving for axis in varying_axes(leaf)}
    divided -= apart - set(axes)
    return Linearised(
        hidden=hidden,
        value=value,
        errors=errors,
        push=push,
        pull=pull,
        curve=lambda tangents: curve(tangents)[1],
        axes=tuple(sorted(divided)),
    )


def _along(leaf: jax.Array, axes: Axes) -> Axes:
    """Axes along which a leaf varies, as its type tells or may not."""
    return (*varying_axes(leaf), *split_axes(leaf, axes))


def as_real_scalar(name: str, returned: Any) -> jax.Array:
    """What a function of the caller returned, which must be a real scalar.

    Args:
      name: of the function, for the message.
      returned: what it returned.

    Raises:
      ValueError: it is none.
    """
    dtype = float if isinstance(returned, float) else getattr(returned, "dtype", int)
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.shape(returned) != ():
        raise refusal(name, "a function that returns a real scalar", returned)
    return jnp.asarray(returned)


def _as_pair(returned: Any) -> tuple[Any, Any]:
    if not isinstance(returned, tuple) or len(returned) != 2:
        required = "a function that returns a pair `(outputs, hidden)`"
        hint = (
            "Without structural damping let it be the Python number 0; under "
            "`optax.inject_hyperparams`, name it in `static_args`."
        )
        raise ValueError(f"{refusal('predict', required, returned)} {hint}")
    return returned


def _check_examples(outputs: Any, hidden: Any) -> None:
    """Requires hidden states, with the axis of examples that outputs have."""
    many = {jnp.shape(leaf)[:1] for leaf in _floating(outputs)}
    ours = {jnp.shape(leaf)[:1] for leaf in _floating(hidden)}
    if not ours or not ours <= many:
        raise ValueError(
            "`predict` must return hidden states with the examples along the first "
            f"axis, as the outputs have them, {sorted(many)}; got {sorted(ours)}."
        )


def _floating(tree: Any) -> list[jax.Array]:
    leaves = jax.tree.leaves(tree)
    return [*map(jnp.asarray, partition(inexact(leaves), leaves)[0])]

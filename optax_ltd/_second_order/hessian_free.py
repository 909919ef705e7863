"""Hessian-free optimisation: steps to the minimum of a damped quadratic model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_ltd._numerics.checks import (
    check_choice,
    check_nonnegative,
    check_number,
    check_static_count,
    refusal,
)
from optax_ltd._numerics.dtypes import widened
from optax_ltd._numerics.shards import AxisName, check_axis_name, mean_over_shards
from optax_ltd._numerics.tree_norm import tree_norm
from optax_ltd._second_order.conjugate_gradients import Solution
from optax_ltd._second_order.damped_model import solve
from optax_ltd._second_order.gauss_newton import as_real_scalar, linearise
from optax_ltd._second_order.levenberg_marquardt import adapted
from optax_ltd._second_order.options import Number, Options
from optax_ltd._second_order.parameter_space import (
    ParameterSpace,
    Vector,
    all_finite,
    choose,
    zeros_like,
)
from optax_ltd._second_order.search_record import (
    Search,
    SearchRecord,
    init_search,
    update_search,
)
from optax_ltd._second_order.step import Step, find_step
from optax_ltd._second_order.structural_damping import HiddenDistance
from optax_ltd._transforms._transformation import transformation
from optax_ltd._transforms.records.record import (
    GradientRecord,
    init_record,
    update_record,
)


class HessianFreeState(NamedTuple):
    """State of `hessian_free`.

    Attributes:
      record: what was seen of the gradients.
      search: what came of the searches for a step, and λ.
      solution: where the last conjugate gradients ended, like the parameters, in at
        least float32; `optax.MaskedNode` for leaves that are not floating.
    """

    record: GradientRecord
    search: SearchRecord
    solution: Any


class _Objective(NamedTuple):
    """The functions that an update is handed."""

    predict: Callable[[Any], Any]
    loss: Callable[[Any], jax.Array]
    value_fn: Callable[[Any], jax.Array] | None

    def value(self, params: Any, options: Options) -> jax.Array:
        """What the line search and the reduction ratio go by."""
        if self.value_fn is not None:
            value = as_real_scalar("value_fn", self.value_fn(params))
        else:
            returned = self.predict(params)
            outputs = returned[0] if options.is_structural else returned
            value = as_real_scalar("loss", self.loss(outputs))
        return mean_over_shards(value, options.axes)


def hessian_free(
    damping: jax.typing.ArrayLike = 0.1,
    *,
    structural_damping: jax.typing.ArrayLike = 0.0,
    hidden_distance: HiddenDistance = "squared",
    max_cg_iterations: int = 300,
    preconditioner_exponent: jax.typing.ArrayLike = 0.75,
    warm_start: jax.typing.ArrayLike = 0.95,
    axis_name: AxisName = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Steps to the minimum of a damped quadratic model, by conjugate gradients.

    The model of the loss f about the parameters θ is

    .. math:: q(x) = \nabla f^\top x + \tfrac12 x^\top G x

    with the Gauss-Newton matrix G of `gauss_newton_product`. The step x comes nearly to
    the minimum of it with damping,

    .. math:: (G + \lambda I + \lambda \mu G_S) \, x = -\nabla f

    by at most `max_cg_iterations` conjugate gradients, which begin at a share of where
    the last ones ended and stop where there is little progress. From there it goes back
    over iterates kept on the way as long as f does not rise, and shortens the one it
    comes to until it lowers f by enough. λ grows by 3/2 where less than 1/4 of what q
    predicts comes true, and shrinks by 2/3 above 3/4.

    G_S is structural damping, for recurrent nets: the Gauss-Newton matrix of the
    distance D of the hidden states from what they are, mean over examples and sum over
    all else, so that no small step in θ changes them by much. D is ½ (h - h')², or
    for logistic units the cross-entropy, -h log h' - (1 - h) log(1 - h').

    ``update`` takes two functions beside the gradient::

        tx.update(grads, state, params, predict=predict, loss=loss)

    - ``predict(params)``: the outputs for a batch, the *curvature batch*; with
      structural damping the pair ``(outputs, hidden)``. Both have the examples along
      their first axis. Hidden states of `unroll`, which is time-major, come by
      ``jnp.swapaxes(hidden, 0, 1)``; those that a mask leaves out are to be multiplied
      by it.
    - ``loss(outputs)``: a real scalar, convex in the outputs. Targets are in it.
    - ``value_fn(params)``, if it is given: f, for the walk back, the line search and
      the reduction ratio. By default that is ``loss`` of ``predict``. Where ``grads``
      is of a larger batch than the curvature, give the loss of that batch here.

    Where each device holds a part of the batch, inside `jax.shard_map` or `jax.pmap`,
    name the axis. In a `jax.shard_map` with ``check_vma``, as it is by default, a
    `loss` and a `value_fn` that are means over all parts, by `jax.lax.pmean`, do as
    well; elsewhere each device would go its own way.

    Call it under `jax.jit`: outside, all of it is compiled at each call. What comes out
    is the step itself, so no learning rate follows. `predict` is differentiated in
    forward mode too, so a `FlowRNN` in it must have Ω off, or it raises; ``grads`` may
    have been made with it on. `nnx.Optimizer.update` hands the functions on;
    ``copy=True``, as below, gives each call of `predict` random streams of its own,
    which recurrent layers need. Under `optax.masked` let `predict` take from elsewhere
    what is masked, of which it gets no arrays.

    With 300 iterations up to 21 iterates are kept for the walk back, so that an update
    takes the memory of some 30 trees like `params` beside that of the linearisation.
    Conjugate gradients are in float32 or wider, but products are as exact as `predict`
    and its parameters: with these in half precision, a small λ is lost in rounding, and
    of a curvature beyond what float16 holds no step comes.

    The step is finite, or zero: if the gradient, the loss or a product is not finite,
    or no trial lowers the loss. Either is counted; λ grows if it is a product or the
    trials. A zero gradient is no such thing; it changes nothing. Where what q predicts
    is lost in rounding of f, and what came of it too, λ shrinks towards `damping`, so
    that it comes back from having grown too far. It stays from 1e-12 to 1e12, and an
    update that would lead it out is counted. `metrics` tells, beside what it does of
    any gradient, where ``scale`` is the factor of the line search, or 0 without a step:
    `damping`, `reduction_ratio`, `cg_iterations` and `loss_evaluations` of the last
    update, and `negative_curvature_count`, `refused_nonfinite`, `refused_no_decrease`
    and `damping_held_count`.

    Args:
      damping: the first λ, above 0. What is good depends on the scale of the loss.
      structural_damping: μ, at least 0, such as 1/30; with the Python number 0
        `predict` returns outputs alone. `optax.inject_hyperparams` makes an array of
        it, which counts as some; where there is none name it in `static_args`.
      hidden_distance: ``"squared"``, for tanh units, or ``"cross_entropy"``, for
        hidden states in (0, 1).
      max_cg_iterations: an int of at least 1; under `optax.inject_hyperparams` name it
        in `static_args`.
      preconditioner_exponent: α of the preconditioner
        :math:`(\operatorname{mean}_b (\nabla L_b)^2 + \lambda)^\alpha`, whose mean of
        squares over examples is estimated by eight passes back; 0 for none. 0.75 is
        that of Martens (2010), section 4.7.
      warm_start: the share of the last solution that conjugate gradients begin at, from
        0 to 1. Martens & Sutskever (2012) let it decay so.
      axis_name: the axis or axes of `jax.shard_map`, `jax.pmap` or `jax.vmap` along
        which batches are divided, with parameters and ``grads`` the same all along.
        Means of `loss` and `value_fn` are taken over them.

    Returns:
      A `optax.GradientTransformationExtraArgs` with a `HessianFreeState`.

    Raises:
      ValueError: an argument is out of its range, NaN or no number. An array is judged
        by its shape and dtype alone. From `update`: `params` is missing, the gradient
        is no tree like it, a leaf is complex, `predict` or `loss` is missing, `loss`
        or `value_fn` returns no real scalar, or `predict` no pair where there is
        structural damping, with the examples along the first axis of both.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> x = jnp.linspace(-1, 1, 20)[:, None]
      >>> y = jnp.sin(3 * x)
      >>> model = nnx.Sequential(
      ...     nnx.Linear(1, 8, rngs=nnx.Rngs(0)),
      ...     jnp.tanh,
      ...     nnx.Linear(8, 1, rngs=nnx.Rngs(1)),
      ... )
      >>> optimizer = nnx.Optimizer(model, ltd.hessian_free(), wrt=nnx.Param)
      >>> def loss(outputs):
      ...     return jnp.mean((outputs - y) ** 2)
      >>> @nnx.jit
      ... def train_step(model, optimizer):
      ...     graphdef, params, rest = nnx.split(model, nnx.Param, ...)
      ...     predict = lambda p: nnx.merge(graphdef, p, rest, copy=True)(x)
      ...     value, grads = nnx.value_and_grad(lambda model: loss(model(x)))(model)
      ...     optimizer.update(model, grads, predict=predict, loss=loss)
      ...     return value
      >>> for _ in range(10):
      ...     _ = train_step(model, optimizer)
      >>> bool(loss(model(x)) < 0.01)
      True

    References:
      Martens, *Deep learning via Hessian-free optimization*, ICML 2010.

      Martens & Sutskever, *Learning recurrent neural networks with Hessian-free
      optimization*, ICML 2011.

      Martens & Sutskever, *Training deep and recurrent networks with Hessian-free
      optimization*, in Neural Networks: Tricks of the Trade, 2012.
    """
    damping = check_number("damping", damping, above=0)
    structural_damping = check_nonnegative("structural_damping", structural_damping)
    check_choice("hidden_distance", hidden_distance, ("squared", "cross_entropy"))
    options = Options(
        damping,
        structural_damping,
        hidden_distance,
        check_static_count("max_cg_iterations", max_cg_iterations, at_least=1),
        check_nonnegative("preconditioner_exponent", preconditioner_exponent),
        check_nonnegative("warm_start", warm_start, at_most=1),
        check_axis_name(axis_name),
    )

    def init(params: Any) -> HessianFreeState:
        space = ParameterSpace.of(params)
        solution = space.masked(zeros_like(space.point))
        return HessianFreeState(init_record(), init_search(damping), solution)

    def update(
        updates: Any,
        state: HessianFreeState,
        params: Any = None,
        *,
        predict: Callable[[Any], Any] | None = None,
        loss: Callable[[Any], jax.Array] | None = None,
        value_fn: Callable[[Any], jax.Array] | None = None,
        **extra_args: Any,
    ) -> tuple[Any, HessianFreeState]:
        del extra_args  # Those of other transformations in a chain.
        if params is None:
            raise refusal("params", "given, as the model is about them", params)
        if not callable(predict):
            raise refusal("predict", "a function, given to `update`", predict)
        if not callable(loss):
            raise refusal("loss", "a function, given to `update`", loss)
        if value_fn is not None and not callable(value_fn):
            raise refusal("value_fn", "a function or None", value_fn)
        objective = _Objective(predict, loss, value_fn)
        return _update(updates, state, params, objective, options)

    return transformation(init, update)


def _update(
    updates: Any,
    state: HessianFreeState,
    params: Any,
    objective: _Objective,
    options: Options,
) -> tuple[Any, HessianFreeState]:
    space = ParameterSpace.of(params)
    gradient = space.vector("updates", updates)
    measured = tree_norm(updates)
    linear = linearise(
        objective.predict,
        objective.loss,
        space,
        options.axes,
        returns_hidden=options.is_structural,
    )
    before = linear.value
    if objective.value_fn is not None:
        before = objective.value(params, options)
    usable = measured.finite & jnp.isfinite(before)
    still = usable & (measured.root == 0)
    last, damping = jax.tree.leaves(state.solution), state.search.damping
    key = jax.random.fold_in(jax.random.key(0), state.record.total_count)
    idle = ~usable | still
    solution = solve(linear, gradient, measured, last, damping, options, key, idle=idle)

    def loss_after(step: Vector) -> jax.Array:
        # What comes out has the dtypes of the gradient.
        step = space.vector("updates", space.like(updates, step))
        value = widened(objective.value(space.after(step), options))
        return jnp.where(all_finite(step), value, jnp.inf)

    nowhere = idle | ~solution.finite
    step = find_step(loss_after, linear, gradient, solution, before, nowhere)
    evaluations = step.evaluations + (objective.value_fn is not None)
    step = step._replace(evaluations=evaluations)
    search = _search(
        state.search, solution, step, options.damping, usable=usable, still=still
    )
    nonfinite = search.nonfinite
    scale, clipped = step.factor, search.no_decrease | (nonfinite & measured.finite)
    new = HessianFreeState(
        update_record(state.record, updates, measured, scale=scale, clipped=clipped),
        update_search(state.search, search),
        space.masked(_to_start_from(last, solution, idle=idle)),
    )
    return space.like(updates, step.x), new


def _search(
    record: SearchRecord,
    solution: Solution,
    step: Step,
    first_damping: Number,
    *,
    usable: jax.Array,
    still: jax.Array,
) -> Search:
    """What came of it: a step that was refused raises λ as one that failed does.

    A gradient or a loss that was not finite before says nothing of the model, nor does
    a gradient of zero.
    """
    nonfinite = ~usable | ~solution.finite
    no_decrease = ~nonfinite & ~still & (step.factor == 0)
    ratio = jnp.where(nonfinite | no_decrease, 0, step.ratio)
    # Iterates that curvature of zero or below cut short ask for a larger λ.
    lost = step.lost & ~solution.negative_curvature
    adjusted, held = adapted(record.damping, ratio, first_damping, lost=lost)
    untold = ~usable | still
    return Search(
        damping=jnp.where(untold, record.damping, adjusted),
        reduction_ratio=jnp.where(
            nonfinite | still, record.reduction_ratio, step.ratio
        ),
        cg_iterations=solution.iterations,
        loss_evaluations=step.evaluations,
        negative_curvature=solution.negative_curvature,
        nonfinite=nonfinite,
        no_decrease=no_decrease,
        held=held & ~untold,
    )


def _to_start_from(last: Vector, solution: Solution, *, idle: jax.Array) -> Vector:
    """The last solution, before the walk back (Martens 2010, sections 4.5 and 4.6).

    One that met what is not finite may owe it to where it began, so that the next
    begins from zero.
    """
    new = choose(solution.finite, solution.x, zeros_like(solution.x))
    return choose(idle, last, new)

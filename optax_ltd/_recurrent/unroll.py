"""A recurrent cell unrolled over time, with Ω in its backward pass."""

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import chex
import jax
import jax.numpy as jnp

from optax_ltd._numerics.checks import (
    as_array,
    check_bool,
    check_count,
    check_length,
    refusal,
)
from optax_ltd._numerics.dtypes import is_inexact
from optax_ltd._numerics.leaves import inexact, partition
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.cell.program import as_pair
from optax_ltd._recurrent.cell.resets import check_fresh, resetting
from optax_ltd._recurrent.cell.settled_carry import trace_settled
from optax_ltd._recurrent.flow.listening import listener
from optax_ltd._recurrent.flow.record import FlowRecords
from optax_ltd._recurrent.groups import Groups
from optax_ltd._recurrent.loop.with_flow import scan_with_flow
from optax_ltd._recurrent.loop.without_flow import scan_without_flow
from optax_ltd._recurrent.options import OptionKeywords, Options, takes_options


@takes_options(
    flow_weight="""It may be a scalar array, and an array counts as on, whatever its
    value. With the Python number 0, forward mode and higher derivatives work. The
    gradient with respect to the weight itself is zero.""",
    flow_params="a tree of booleans, a prefix of ``params``.",
    flow_fraction="It needs a ``flow_key``.",
)
def unroll(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    inputs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    *,
    num_batch_dims: int | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    reset_carry: Any = None,
    flow_key: chex.PRNGKey | None = None,
    flow_record: FlowRecords | None = None,
    **options: Unpack[OptionKeywords],
) -> tuple[Any, Any]:
    r"""Runs a cell over time; its gradient carries ``flow_weight`` · ∇Ω.

    The result is that of ``jax.lax.scan``. With Ω on, ``jax.grad`` of an ordinary loss
    adds ``flow_weight`` times the gradient of Pascanu's information-flow regulariser

    .. math:: \Omega = \sum_t \operatorname{mean}_b
      \left(\frac{\|\delta_t J_t\|}{\|\delta_t\|} - 1\right)^2,
      \quad \delta_t = \frac{\partial L}{\partial h_t},
      \quad J_t = \frac{\partial h_t}{\partial h_{t-1}}

    to the cotangent of ``params``, with δ_t, h_{t-1} and x_t held constant, and nothing
    to that of ``carry`` and ``inputs``. Arrays that ``cell_fn`` closes over count as
    parameters, so what comes from a layer below, such as the outputs of an encoder,
    belongs into ``inputs`` or into a part of ``params`` that ``flow_params`` leaves
    out. δ_t is the total derivative at the carry, so
    what the loss reads through an output that *is* a leaf of the carry belongs to it;
    an output computed beside the carry is a branch of its own and stays outside J_t.
    Steps where ‖δ_t‖ is zero or not finite, and masked steps, are left out.

    Ω does not scale with the loss: if the loss is multiplied by a constant, as in loss
    scaling, multiply ``flow_weight`` by it too. Under ``jax.vmap`` over B examples each
    is a batch of its own; where the loss is their mean, give ``flow_weight / B`` for
    what ``flow_weight`` is to a batch.

    Args:
      cell_fn: ``(params, carry, x) -> (carry, y)``, a function of arrays. It is traced,
        not run, at each call.
      params: tree of arrays.
      carry: the initial carry, a tree of ``[B, ...]``. Its floating leaves together are
        the hidden state h; other leaves are handed on without a gradient. It is
        converted to the floating dtypes that the cell returns.
      inputs: tree of ``[T, B, ...]``, or None for a cell that runs by itself.
      length: T, needed only where ``inputs`` has no leaf.
      reverse: whether to run from the last time step to the first, as in
        ``jax.lax.scan``; outputs stay in the order of the inputs. Records are in the
        order in which steps are taken.
      num_batch_dims: how many axes of the carry, and of the inputs behind time, are
        batch: 1 for the shapes given here, 0 for one example, a carry of ``[...]`` and
        inputs of ``[T, ...]``. By default 1, if the shapes leave no doubt.
      mask: ``[T, B]`` boolean, the steps that count in Ω; all by default. It does not
        change the outputs or the gradient of the loss.
      resets: ``[T, B]`` boolean: before a step whose entry is true the carry is
        ``reset_carry``, as where an episode ends inside a sequence. No error signal
        crosses it, and Ω and records leave the step out.
      reset_carry: what the carry begins anew with, a tree like it of shapes that
        broadcast to its.
      flow_key: PRNG key of the steps that ``flow_fraction`` draws. Give a new one at
        each update.
      flow_record: zeros from ``FlowRecord.zeros((T, B))``; their cotangent is what the
        backward pass saw of the error signal. With ``flow_groups`` a dict from the name
        of each group to such zeros.
      **options: the fields of ``Options``.

    Returns:
      The final carry, and the outputs stacked to ``[T, B, ...]``.

    Raises:
      ValueError: if an option is not one of those above, the cell returns no pair or
        changes the structure, shapes or dtypes of the carry, or the shapes do not tell
        whether there is a batch while Ω, a clip or a record is on.
      TypeError: if ``flow_weight`` is neither a number nor a floating scalar array.
      NotImplementedError: on forward-mode or second derivatives while Ω, a clip or a
        record is on.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> def cell(w, h, x):
      ...     h = jnp.tanh(h @ w + x)
      ...     return h, h
      >>> x = 0.1 * jnp.ones((20, 2, 3))
      >>> def loss(w, flow_weight):
      ...     _, y = ltd.unroll(cell, w, jnp.zeros((2, 3)), x, flow_weight=flow_weight)
      ...     return jnp.sum(y[-1])
      >>> w = 0.1 * jnp.eye(3)
      >>> bool(jax.grad(loss)(w, 1.0)[0, 0] < jax.grad(loss)(w, 0.0)[0, 0])
      True

    References:
      Pascanu, Mikolov & Bengio, `On the difficulty of training recurrent neural
      networks <https://arxiv.org/abs/1211.5063>`_, 2013, Eqs. (9) and (10).
    """
    if resets is not None and reset_carry is None:
        raise refusal("reset_carry", "given with `resets`", None)
    check_bool("reverse", reverse)
    length = check_length(inputs, length)
    checked = Options(**options)
    if num_batch_dims is None:
        nobody_asks = flow_record is None and listener() is None
        unused = checked.has_every_derivative and nobody_asks
        num_batch_dims = 1 if unused else one_batch_axis(carry, inputs)
    check_count("num_batch_dims", num_batch_dims, at_least=0)

    def without_state(params: Any, carry: Any, state: Any, x: Any) -> Any:
        new_carry, y = as_pair(cell_fn(params, carry, x))
        return new_carry, state, y

    def ordered(timed: Any) -> Any:
        return jax.tree.map(lambda x: jnp.flip(x, 0), timed) if reverse else timed

    def steps(name: str, marked: Any) -> Any:
        return None if marked is None else ordered(as_array(name, marked))

    carry, _, outputs = unroll_with_state(
        without_state,
        params,
        carry,
        (),
        ordered(inputs),
        length,
        options=checked,
        call=Call(
            num_batch_dims,
            mask=steps("mask", mask),
            key=flow_key,
            record=flow_record,
            resets=steps("resets", resets),
            reset_carry=None if resets is None else reset_carry,
            listener=listener() if flow_record is None else None,
        ),
    )
    return carry, ordered(outputs)


def unroll_with_state(
    cell_fn: Callable[..., Any],
    params: Any,
    carry: Any,
    state: Any,
    inputs: Any,
    length: int,
    *,
    options: Options,
    call: Call,
) -> tuple[Any, Any, Any]:
    """As :func:`unroll`, with a state that steps hand on beside the hidden state.

    Args:
      cell_fn: ``(params, carry, state, x) -> (carry, state, y)``.
      params: tree of arrays.
      carry: tree of ``[*batch, ...]``.
      state: tree of arrays; it has no part in δ and J, and no gradient with Ω on.
      inputs: tree of ``[T, *batch, ...]``.
      length: T.
      options: of the layer.
      call: the arrays of this call.

    Returns:
      The final carry, the final state, and the outputs stacked over time.
    """
    carry, state = jax.tree.map(jnp.asarray, (carry, state))
    lead = (length, *batch_axes(inputs, carry, call.num_batch_dims))
    call.check(options, lead)

    def cell(params: Any, both: Any, x: Any) -> Any:
        new_carry, new_state, y = cell_fn(params, *both, x)
        return (new_carry, new_state), y

    if call.reset_carry is not None:
        check_fresh("reset_carry", call.reset_carry, carry, lead[1:])
        cell, params = resetting(cell), (params, call.reset_carry)
        inputs = (inputs, call.resets)
        flow_params = (options.flow_params, False)
        options = dataclasses.replace(options, flow_params=flow_params)

    x = jax.tree.map(_one_step, inputs)
    (carry, state), program = trace_settled(
        cell, params, (carry, state), x, hoist=not options.remat
    )
    start, tree = jax.tree.flatten((carry, state))
    told = options.flow_weight, options.carry_clip, call._replace(listener=None)
    near = params, start, inputs, program.closed_over, told
    call = call.answered(options, lead, near)
    if options.has_every_derivative and call.record is None:
        final, outputs = scan_without_flow(
            program, params, start, inputs, length, options
        )
    else:
        groups = Groups.of(options.flow_groups, carry, state)
        if not any(groups.is_hidden):
            raise ValueError(
                "`carry` must have a floating leaf for Ω, a clip or a record; got none."
            )
        _check_batch(carry, lead[1:])
        final, outputs = scan_with_flow(
            program, groups, params, start, inputs, options, call, lead
        )
    return (
        *jax.tree.unflatten(tree, final),
        jax.tree.unflatten(program.output_tree, outputs),
    )


def _one_step(timed: jax.Array) -> jax.ShapeDtypeStruct:
    if timed.shape[0] == 0:
        return jax.ShapeDtypeStruct(timed.shape[1:], timed.dtype)
    # Beside shape and dtype this keeps the axes of `jax.shard_map`.
    return jax.eval_shape(lambda x: x[0], timed)


def one_batch_axis(carry: Any, inputs: Any) -> int:
    """1, if that is what the shapes say; raises ValueError otherwise.

    A carry [n] may be n examples of one unit, or one example of n units, and one of
    [n, m] too; with Ω, a clip or a record these differ. What tells is an input [T, n,
    ...] of vectors, or of whole numbers such as tokens. Inputs that examples share have
    an axis of one.
    """
    shapes = [jnp.shape(h) for h in _hidden(carry)]
    leaves = jax.tree.leaves(inputs)
    behind_time = [jnp.shape(x)[1:] for x in leaves]
    batches = {s[0] for s in shapes if s} | {s[0] for s in behind_time if s} - {1}
    told = any(
        len(shape) > 1 or (len(shape) == 1 and not is_inexact(x))
        for x, shape in zip(leaves, behind_time, strict=True)
    )
    if told and all(len(s) > 1 for s in shapes) and len(batches) == 1:
        return 1
    raise ValueError(
        "`num_batch_dims` must be given where shapes do not tell whether there is a "
        "batch, 1 for a carry of [B, ...] and inputs of [T, B, ...], or 0 for one "
        f"example; got a carry of {shapes} and inputs of {behind_time} behind time."
    )


def batch_axes(inputs: Any, carry: Any, num_batch_dims: int) -> tuple[int, ...]:
    """Batch axes, those of the carry, for examples may share inputs."""
    batches = [h.shape[:num_batch_dims] for h in _hidden(carry)]
    behind_time = [jnp.shape(x)[1:] for x in jax.tree.leaves(inputs)]
    shared = [shape[:num_batch_dims] for shape in behind_time]
    return max(batches or shared, key=len, default=())


def _hidden(carry: Any) -> list[jax.Array]:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    return partition(inexact(leaves), leaves)[0]


def _check_batch(carry: Any, batch: tuple[int, ...]) -> None:
    batches = {h.shape[: len(batch)] for h in _hidden(carry)}
    if batches != {batch}:
        raise ValueError(
            "`carry` must have the same batch axes in front of each floating leaf; got "
            f"{sorted(batches)}."
        )

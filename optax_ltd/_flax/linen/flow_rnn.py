"""``nn.RNN`` of Linen with Pascanu's regulariser in its backward pass."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from flax import linen as nn
from flax.core import Scope
from flax.linen.transforms import lift_transform

from optax_ltd._flax.linen.lifted_loop import Lifting, loop_with_flow
from optax_ltd._flax.linen.record_request import flow_record
from optax_ltd._flax.sequences import (
    ReturnCarry,
    Sequences,
    StartCarries,
    blaming_carry,
    check_cell,
    check_return_carry,
    start_carries,
    step_shapes,
)
from optax_ltd._numerics.checks import check_time_axis
from optax_ltd._numerics.shards import varying_as
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.carry_clip import CarryClip
from optax_ltd._recurrent.cell.program import as_pair
from optax_ltd._recurrent.cell.resets import begin_anew
from optax_ltd._recurrent.options import (
    FlowForm,
    FlowReduction,
    FlowSlopes,
    Options,
    takes_options,
)


@takes_options(
    flow_params="""a mask as in ``optax.masked``: a tree of booleans that is a
    prefix of the cell's parameters, or a function that returns one given the
    parameters.""",
    flow_fraction='It draws from the random stream ``"flow"``.',
)
class FlowRNN(nn.RNN):
    r"""A drop-in for :class:`flax.linen.RNN` that keeps gradients from vanishing.

    Parameters and outputs are those of ``nn.RNN``, so its checkpoints load. With
    ``flow_weight`` > 0 the gradient of an ordinary loss carries ``flow_weight`` · ∇Ω to
    the cell's parameters, and to nothing else:

    .. math:: \Omega = \sum_t \operatorname{mean}_b
      \left(\frac{\|\delta_t J_t\|}{\|\delta_t\|} - 1\right)^2,
      \quad \delta_t = \frac{\partial L}{\partial h_t},
      \quad J_t = \frac{\partial h_t}{\partial h_{t-1}}

    All that ``ltd.FlowRNN`` says of Ω holds here: use it with a clip, multiply
    ``flow_weight`` by what you multiply the loss by, and give the layer whole batches.
    ``ltd.linen.value_and_grad`` tells what Ω was.

    Args:
      cell: any Linen recurrent cell.
      time_major: as in ``nn.RNN``; so are all options down to ``split_rngs``.
      return_carry: whether to return the final carry beside the outputs; ``"all"``
        returns that of every step, with time on the axis where the outputs have it.
      reverse: whether to process the sequence backwards.
      keep_order: whether what comes out of a reversed sequence has the input's order.
      variable_axes: collections with a value for each step; only with Ω off.
      variable_broadcast: collections that steps share.
      variable_carry: collections that each step hands on to the next.
      split_rngs: whether the steps have keys of their own in a random stream, as in
        ``{"params": False, "dropout": True}``, or share one.
      **options: the fields of ``Options``.

    Raises:
      ValueError: if an option is none of these.
      TypeError: if ``cell`` is no cell of this API, ``flow_weight`` is not a number, or
        ``carry_clip`` is not from :func:`clip_carry_gradient`.

    Examples:
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> rnn = ltd.linen.FlowRNN(nn.SimpleCell(50), flow_weight=2.0)
      >>> x = jnp.ones((20, 100, 6))
      >>> variables = rnn.init(jax.random.key(0), x)
      >>> rnn.apply(variables, x).shape
      (20, 100, 50)

    References:
      Pascanu, Mikolov & Bengio, `On the difficulty of training recurrent neural
      networks <https://arxiv.org/abs/1211.5063>`_, 2013, Eqs. (9) and (10).
    """

    return_carry: ReturnCarry = False  # pyright: ignore[reportIncompatibleVariableOverride]
    unroll: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    flow_weight: jax.typing.ArrayLike = 0.0
    flow_form: FlowForm = "ratio"
    flow_slopes: FlowSlopes = "moving"
    flow_reduction: FlowReduction = "sum"
    flow_params: Any = "all"
    flow_groups: Any = None
    flow_fraction: float = 1.0
    carry_clip: CarryClip | None = None
    truncate: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Checks the options."""
        check_cell(self.cell, nn.Module, "flax.linen (optax_ltd.FlowRNN is for nnx)")
        check_return_carry(self.return_carry)
        Options.of(self)
        super().__post_init__()

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reset_carry: Any = None,
        return_carry: ReturnCarry | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        flow_weight: jax.typing.ArrayLike | None = None,
    ) -> Any:
        """Runs the cell over a sequence.

        Args:
          inputs: ``[*batch, time, *features]``, or ``[time, *batch, *features]`` if
            ``time_major``; or a tree of such arrays for a cell that takes one. The one
            with most axes has the cell's ``num_feature_axes``, others may have fewer.
          initial_carry: the carry to start from; the cell's own by default.
          init_key: for the cell's own initial carry; ``jax.random.key(0)`` by default.
          seq_lengths: ``[*batch]`` integers. As in ``nn.RNN`` they say where a
            reversed sequence begins and which carry is the last. Of a sequence of
            length 0 that is the initial one, and a length beyond the time axis stands
            for the whole sequence. Steps beyond the length are left out of Ω, and an
            Inf or NaN of the inputs there is taken for 0, so that it is in no gradient.
          mask: ``[*batch, time]`` boolean, or with time first as the inputs: the steps
            that count in Ω; all by default. It changes neither outputs nor ∇L.
          resets: boolean as ``mask``: before a step whose entry is true the carry
            begins anew, as where an episode ends inside a sequence. No error signal
            crosses it, and Ω and reports leave the step out. A reversed layer takes its
            steps from the end, so there a reset belongs to the last step of an episode.
          reset_carry: what the carry begins anew with, of shapes that broadcast to
            those of the carry; the cell's own initial carry by default.
          return_carry: overrides the field, as do the options below.
          time_major: whether time is the first axis.
          reverse: whether to process the sequence backwards.
          keep_order: whether what comes out of a reversed sequence has the input's
            order.
          flow_weight: a number or a scalar array, so that a schedule works under
            ``jit``.

        Returns:
          Outputs with time on the axis where the inputs have it, or
          ``(carry, outputs)`` if ``return_carry``.

        Raises:
          ValueError: if ``return_carry`` is none of these, ``flow_params`` does not fit
            the cell, or Ω is on with ``variable_axes``.
          NotImplementedError: on forward-mode or second derivatives while Ω or a
            ``carry_clip`` is on.
        """
        options = Options.of(self).reweighted(flow_weight)
        sequences = Sequences.of(
            self,
            inputs,
            seq_lengths,
            time_major=time_major,
            reverse=reverse,
            keep_order=keep_order,
            return_carry=return_carry,
        )
        inputs = sequences.enter("inputs", inputs)
        key = jax.random.key(0) if init_key is None else init_key
        own_carry = partial(self.cell.initialize_carry, key, step_shapes(inputs))
        starts = start_carries(initial_carry, reset_carry, resets, own_carry)
        every_carry = sequences.every_carry
        if self._creates_params():
            at = (inputs, sequences.steps("resets", resets, inputs))
            with blaming_carry(initial_carry, own_carry):
                scanned = self._scan_by_flax(starts, at, every_carry)
            return sequences.leave(starts.initial, *scanned)
        call = sequences.call(
            inputs,
            mask=mask,
            resets=resets,
            reset_carry=starts.reset,
            key=self.make_rng("flow") if options.draws else None,
            record=lambda lead: flow_record(
                self.scope, lambda: lead, self.flow_groups, self.cell.scope
            ),
        )
        with blaming_carry(initial_carry, own_carry):
            scanned = self._scan(starts.initial, inputs, options, call, every_carry)
        return sequences.leave(starts.initial, *scanned)

    def _creates_params(self) -> bool:
        missing = "params" not in self.cell.variables
        return missing and self.is_mutable_collection("params")

    def _scan(
        self,
        carry: Any,
        inputs: Any,
        options: Options,
        call: Call,
        every_carry: bool,
    ) -> tuple[Any, Any]:
        """Final carry, and outputs over time; if wished beside every carry."""
        lifting = Lifting.of(self)
        if self.variable_axes:
            if not options.changes_nothing or call.record is not None:
                lifting.check_shared()
            starts = StartCarries(carry, call.reset_carry)
            return self._scan_by_flax(starts, (inputs, call.resets), every_carry)

        def transform(step: Callable[..., Any]) -> Callable[..., Any]:
            def body(scopes: Any, carry: Any, x: Any, shared: Any) -> Any:
                del shared
                return step(scopes, carry, x)

            def run(scopes: Sequence[Scope], carry: Any, inputs: Any) -> Any:
                length = check_time_axis("inputs", inputs)
                return loop_with_flow(
                    body,
                    scopes,
                    carry,
                    inputs,
                    (),
                    length,
                    lifting=lifting,
                    options=options,
                    call=call,
                )

            return run

        lifted = lift_transform(transform, _step(every_carry))
        return lifted(self.cell, carry, inputs)

    def _scan_by_flax(
        self, starts: StartCarries, at: Any, every_carry: bool
    ) -> tuple[Any, Any]:
        """The same without Ω; it may create the cell's variables.

        Args:
          starts: the initial carry, and that of resets.
          at: inputs and resets, ``[time, *batch, ...]``; None without resets.
          every_carry: whether to return the carry of each step beside its output.
        """
        step = _step(every_carry)

        def body(cell: nn.Module, carry: Any, at: Any) -> Any:
            x, reset = at
            if reset is not None:
                carry = begin_anew(reset, starts.reset, carry)
            return step(cell, carry, x)

        unroll = Options.of(self).unroll_of_scan
        scan = nn.scan(body, unroll=unroll, **Lifting.of(self)._asdict())
        start = jax.tree.map(partial(varying_as, at), starts.initial)
        return scan(self.cell, start, at)


def _step(every_carry: bool) -> Callable[..., Any]:
    def step(cell: Any, carry: Any, x: Any) -> Any:
        carry, y = as_pair(cell(carry, x))
        return carry, (carry, y) if every_carry else y

    return step

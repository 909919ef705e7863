"""``nnx.RNN`` with Pascanu's information-flow regulariser in its backward pass."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import jax
from flax import nnx

from optax_ltd._flax.nnx.pure_cell import check_flow_params, pure_cell
from optax_ltd._flax.nnx.record_variable import FlowRecordVariable, Probe, record_of
from optax_ltd._flax.sequences import (
    ReturnCarry,
    Sequences,
    blaming_carry,
    check_cell,
    check_return_carry,
    start_carries,
    step_shapes,
)
from optax_ltd._numerics.checks import check_time_axis
from optax_ltd._numerics.shards import varying_as
from optax_ltd._recurrent.call import Call
from optax_ltd._recurrent.options import (
    BESIDE_FLOW,
    OptionKeywords,
    Options,
    takes_options,
)
from optax_ltd._recurrent.unroll import unroll_with_state

if TYPE_CHECKING:

    class _RNN(nnx.RNN, Options):
        """The layer has the options as attributes."""

else:
    _RNN = nnx.RNN


@takes_options(
    flow_params="an ``nnx`` filter.",
    flow_fraction="It draws from the ``flow`` stream of ``rngs``.",
)
class FlowRNN(_RNN):
    r"""A drop-in for :class:`flax.nnx.RNN` that keeps gradients from vanishing.

    Outputs are those of ``nnx.RNN``. With ``flow_weight`` > 0 the gradient of an
    ordinary loss carries ``flow_weight`` · ∇Ω to the cell's parameters, and to nothing
    else:

    .. math:: \Omega = \sum_t \operatorname{mean}_b
      \left(\frac{\|\delta_t J_t\|}{\|\delta_t\|} - 1\right)^2,
      \quad \delta_t = \frac{\partial L}{\partial h_t},
      \quad J_t = \frac{\partial h_t}{\partial h_{t-1}}

    where h is the whole carry (for an LSTM the pair (c, h)) and δ_t, h_{t-1} and x_t
    are held constant. The value of the loss does not contain Ω; ``ltd.value_and_grad``
    tells what it was.

    Ω asks every step to pass the error signal on at the same size, so it also makes
    gradients larger: use it with a clip, such as ``ltd.clip_or_random_step``. It does
    not scale with the loss: if you multiply the loss, as in loss scaling, multiply
    ``flow_weight`` too. Under ``jax.vmap`` over examples each example is a batch of its
    own, and the Ω of all of them add up; give the layer the whole batch instead.

    Args:
      cell: any ``nnx`` recurrent cell.
      time_major: as in ``nnx.RNN``; so are all options down to ``rngs``.
      return_carry: whether to return the final carry beside the outputs; ``"all"``
        returns that of every step, with time on the axis where the outputs have it.
      reverse: whether to process the sequence backwards.
      keep_order: whether what comes out of a reversed sequence has the input's order.
      state_axes: as in ``nnx.RNN``; anything but the default only with Ω off.
      broadcast_rngs: random streams that every step shares.
      rngs: source of the initial carry.
      **options: the fields of ``Options``.

    Raises:
      ValueError: if an option is none of these.
      TypeError: if ``cell`` is no cell of this API, ``flow_weight`` is not a number, or
        ``carry_clip`` is not from :func:`clip_carry_gradient`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> from flax import nnx
      >>> cell = nnx.SimpleCell(6, 50, rngs=nnx.Rngs(0))
      >>> rnn = ltd.FlowRNN(cell, flow_weight=2.0)
      >>> rnn(jnp.ones((20, 100, 6))).shape
      (20, 100, 50)

    References:
      Pascanu, Mikolov & Bengio, `On the difficulty of training recurrent neural
      networks <https://arxiv.org/abs/1211.5063>`_, 2013, Eqs. (9) and (10).

      Goodfellow, Bengio & Courville, `Deep Learning
      <https://www.deeplearningbook.org>`_, 2016, Eq. (10.52).
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        *,
        time_major: bool = False,
        return_carry: ReturnCarry = False,
        reverse: bool = False,
        keep_order: bool = False,
        state_axes: Mapping[str, Any] | None = None,
        broadcast_rngs: nnx.filterlib.Filter = None,
        rngs: nnx.Rngs | nnx.RngStream | bool = True,
        **options: Unpack[OptionKeywords],
    ):
        check_cell(cell, nnx.Module, "flax.nnx (optax_ltd.linen has a layer for Linen)")
        check_return_carry(return_carry)
        checked = Options(**options)
        check_flow_params(cell, checked.flow_params)
        super().__init__(
            cell,
            time_major=time_major,
            return_carry=return_carry,  # pyright: ignore[reportArgumentType]
            reverse=reverse,
            keep_order=keep_order,
            state_axes=state_axes,
            broadcast_rngs=broadcast_rngs,
            rngs=rngs,
        )
        self._custom_state_axes = state_axes is not None
        for name, option in checked.items():
            arrays = any(isinstance(x, jax.Array) for x in jax.tree.leaves(option))
            setattr(self, name, nnx.data(option) if arrays else option)
        self.flow_rngs: nnx.RngStream | None = nnx.data(None)
        if checked.flow_fraction < 1:
            given = rngs.flow if isinstance(rngs, nnx.Rngs) else nnx.Rngs(0).flow
            self.flow_rngs = given.fork()
        self.flow_record: FlowRecordVariable | Probe | None = nnx.data(None)

    def __call__(
        self,
        inputs: Any,
        *,
        initial_carry: Any = None,
        seq_lengths: jax.Array | None = None,
        mask: jax.Array | None = None,
        resets: jax.Array | None = None,
        reset_carry: Any = None,
        return_carry: ReturnCarry | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        flow_weight: jax.typing.ArrayLike | None = None,
    ) -> Any:
        """Runs the cell over a sequence.

        Args:
          inputs: ``[*batch, time, *features]``, or ``[time, *batch, *features]`` if
            ``time_major``; or a tree of such arrays for a cell that takes one. The one
            with most axes has the cell's ``num_feature_axes``, others may have fewer.
          initial_carry: the carry to start from; the cell's own by default.
          seq_lengths: ``[*batch]`` integers. As in ``nnx.RNN`` they say where a
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
          return_carry: overrides the constructor's, as do the options below.
          time_major: whether time is the first axis.
          reverse: whether to process the sequence backwards.
          keep_order: whether what comes out of a reversed sequence has the input's
            order.
          rngs: source of the initial carry.
          flow_weight: a number or a scalar array, so that a schedule works under
            ``jit``.

        Returns:
          Outputs with time on the axis where the inputs have it, or
          ``(carry, outputs)`` if ``return_carry``.

        Raises:
          ValueError: if ``return_carry`` is none of these, or Ω is on with custom
            ``state_axes``.
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
        starts = start_carries(
            initial_carry,
            reset_carry,
            resets,
            lambda: self._initial_carry(step_shapes(inputs), rngs),
        )
        call = sequences.call(
            inputs,
            mask=mask,
            resets=resets,
            reset_carry=starts.reset,
            key=self.flow_rngs() if self.flow_rngs and options.draws else None,
            record=partial(record_of, self.flow_record, self.cell, self.flow_groups),
        )
        scan = self._flax_scan if self._custom_state_axes else self._scan
        with blaming_carry(initial_carry, partial(_own_carry, self.cell, inputs)):
            scanned = scan(starts.initial, inputs, options, call, sequences.every_carry)
        return sequences.leave(starts.initial, *scanned)

    def _initial_carry(self, shape: Any, rngs: nnx.Rngs | nnx.RngStream | None) -> Any:
        rngs = self.rngs if rngs is None else rngs
        if isinstance(rngs, nnx.Rngs):
            rngs = rngs.carry.fork()
        return self.cell.initialize_carry(shape, rngs)

    def _scan(
        self,
        carry: Any,
        inputs: Any,
        options: Options,
        call: Call,
        every_carry: bool,
    ) -> tuple[Any, Any]:
        """Final carry, and outputs over time; if wished beside every carry."""
        broadcast = self.broadcast_rngs

        @nnx.split_rngs(splits=1, only=broadcast, squeeze=True)
        def run(cell: nnx.Module) -> tuple[Any, Any]:
            x = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs
            )
            pure = pure_cell(cell, carry, x, options.flow_params, broadcast)

            def step(params: Any, carry: Any, state: Any, x: Any) -> Any:
                carry, state, y = pure(params, carry, state, x)
                return carry, state, (carry, y) if every_carry else y

            final, state, outputs = unroll_with_state(
                step,
                pure.params,
                carry,
                pure.state,
                inputs,
                check_time_axis("inputs", inputs),
                options=dataclasses.replace(options, flow_params=pure.flow_params),
                call=call,
            )
            pure.write_back(state)
            return final, outputs

        return run(self.cell)

    def _flax_scan(
        self,
        carry: Any,
        inputs: Any,
        options: Options,
        call: Call,
        every_carry: bool,
    ) -> tuple[Any, Any]:
        """As :meth:`_scan` by ``nnx.RNN``, for steps that do not share parameters."""
        asks = call.record is not None or call.resets is not None
        if asks or not options.changes_nothing:
            raise ValueError(
                f"`state_axes` must be the default for Ω, {', '.join(BESIDE_FLOW)} and "
                f"resets, so that steps share parameters; got {self.state_axes!r}."
            )
        if every_carry:
            raise ValueError(
                "`state_axes` must be the default for the carry of every step, and for "
                f"that of the last valid one; got {self.state_axes!r}."
            )
        by_flax: Any = nnx.RNN(
            self.cell,
            time_major=True,
            return_carry=True,
            unroll=options.unroll_of_scan,
            state_axes=self.state_axes,
            broadcast_rngs=self.broadcast_rngs,
            rngs=False,
        )
        start = jax.tree.map(partial(varying_as, inputs), carry)
        return by_flax(inputs, initial_carry=start)


def _own_carry(cell: nnx.Module, inputs: Any) -> Any:
    """The initial carry, for its shapes: no random stream of the cell counts on."""
    copy: Any = nnx.clone(cell)
    return copy.initialize_carry(step_shapes(inputs), nnx.Rngs(0))

"""``nn.RNN`` of Linen with Pascanu's regulariser in its backward pass."""

from typing import Any

import jax
from flax import linen as nn

from optax_ltd._flax.flow_options import check_cell, check_options, flow_config
from optax_ltd._flax.linen.scans import flax_scan, flow_scan
from optax_ltd._flax.sequences import ReturnCarry, Sequences
from optax_ltd._recurrent.carry_clip import CarryClip
from optax_ltd._recurrent.flow.information_flow import FlowForm, FlowReduction
from optax_ltd._recurrent.flow_config import FlowConfig, is_zero

_NAMED = ("all", "recurrent")


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
      unroll: steps unrolled in each loop.
      variable_axes: collections with a value for each step; only with Ω off.
      variable_broadcast: collections that steps share.
      variable_carry: collections that each step hands on to the next.
      split_rngs: whether the steps have keys of their own in a random stream, as in
        ``{"params": False, "dropout": True}``, or share one.
      flow_weight: the factor of Ω, a number >= 0; 0 turns Ω off.
      flow_form: ``"ratio"``, the paper's (g − 1)², or ``"squared_ratio"``, the
        authors' code's (g² − 1)².
      flow_reduction: ``"sum"`` over time as in the paper, or ``"mean"`` over the steps
        that count as in the code.
      flow_params: which of the cell's parameters Ω acts on: ``"all"``, ``"recurrent"``
        (the matrices multiplied with the carry, as in the code) or, like the mask of
        ``optax.masked``, a tree of booleans that is a prefix of the cell's parameters
        or a function that returns one given the parameters.
      flow_fraction: share of the time steps at which Ω is differentiated, in (0, 1],
        drawn anew at each call from the random stream ``"flow"``; unbiased.
      carry_clip: from :func:`clip_carry_gradient`, a bound on the error signal at each
        step of back-propagation through time; it acts with Ω on or off.
      truncate: truncated back-propagation through time: the state is carried on, but
        the error signal stops at the beginning of every window of so many steps. None
        for the whole sequence.
      remat: whether the backward pass runs the cell again instead of keeping what every
        step computed. Beside inputs and outputs, memory then grows as √T.

    Raises:
      ValueError: if an option is none of these.
      TypeError: if ``cell`` is not of this API, ``flow_weight`` is not a number, or
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
    flow_weight: float = 0.0
    flow_form: FlowForm = "ratio"
    flow_reduction: FlowReduction = "sum"
    flow_params: Any = "all"
    flow_fraction: float = 1.0
    carry_clip: CarryClip | None = None
    truncate: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Checks the options."""
        check_cell(self.cell, nn.Module, "flax.linen (optax_ltd.FlowRNN is for nnx)")
        check_options(self)
        _check_flow_params(self.flow_params)
        super().__post_init__()

    def __call__(
        self,
        inputs: jax.Array,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: jax.Array | None = None,
        return_carry: ReturnCarry | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        flow_weight: jax.typing.ArrayLike | None = None,
    ) -> Any:
        """Runs the cell over a sequence.

        Args:
          inputs: ``[*batch, time, *features]``, or ``[time, *batch, *features]`` if
            ``time_major``.
          initial_carry: the carry to start from; the cell's own by default.
          init_key: for the cell's own initial carry; ``jax.random.key(0)`` by default.
          seq_lengths: ``[*batch]`` integers. As in ``nn.RNN`` they say where a
            reversed sequence begins and which carry is the last; steps beyond them are
            left out of Ω.
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
        weight = self.flow_weight if flow_weight is None else flow_weight
        sequences = Sequences.of(
            self,
            inputs,
            seq_lengths,
            time_major=time_major,
            reverse=reverse,
            keep_order=keep_order,
            return_carry=return_carry,
        )
        inputs = sequences.enter(inputs)
        if initial_carry is None:
            key = jax.random.key(0) if init_key is None else init_key
            initial_carry = self.cell.initialize_carry(key, inputs.shape[1:])
        if self._creates_params():
            scanned = flax_scan(
                self, self.cell, initial_carry, inputs, sequences.every_carry
            )
            return sequences.leave(*scanned)
        draws = self.flow_fraction < 1 and not is_zero(weight)
        key = self.make_rng("flow") if draws else None
        flow = flow_config(self, weight, key, sequences.mask(inputs.shape[0]))
        return sequences.leave(*self._scan(initial_carry, inputs, flow, sequences))

    def _creates_params(self) -> bool:
        missing = "params" not in self.cell.variables
        return missing and self.is_mutable_collection("params")

    def _scan(
        self, carry: Any, inputs: jax.Array, flow: FlowConfig, sequences: Sequences
    ) -> tuple[Any, Any]:
        """Final carry, and outputs over time; if wished beside every carry."""
        every_carry = sequences.every_carry
        if self.variable_axes:
            if not flow.changes_nothing:
                raise ValueError(
                    "Ω, truncate and remat need variable_axes={}, with which steps "
                    f"share parameters; got {self.variable_axes!r}"
                )
            return flax_scan(self, self.cell, carry, inputs, every_carry)
        flow = flow._replace(params=self.flow_params)
        return flow_scan(
            self,
            self.cell,
            carry,
            inputs,
            every_carry,
            flow=flow,
            num_batch_dims=sequences.num_batch_dims,
        )


def _check_flow_params(flow_params: Any) -> None:
    if isinstance(flow_params, str) and flow_params not in _NAMED:
        raise ValueError(
            f"flow_params must be one of {_NAMED}, a tree of booleans or a function "
            f"that returns one, got {flow_params!r}"
        )

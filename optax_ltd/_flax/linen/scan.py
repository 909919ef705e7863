"""``nn.scan`` of Linen over time with Pascanu's regulariser in its backward pass."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
from flax import linen as nn
from flax.core import FrozenDict
from flax.linen.transforms import lift_transform

from optax_ltd._flax.linen.lifted_loop import Lifting
from optax_ltd._flax.linen.lifted_scan import LiftedScan
from optax_ltd._numerics.checks import check_count, refusal
from optax_ltd._recurrent.options import Options, takes_options

_Target = TypeVar("_Target", bound=Callable[..., Any])


@takes_options(
    flow_weight="""A scalar array counts as on. Around a method or a function it may be
    a function of the module, such as ``lambda self: self.flow_weight``, so that a
    schedule comes in by a field.""",
    flow_params="""a mask as in ``optax.masked``: a tree of booleans that is a
    prefix of the module's parameters, or a function that returns one given the
    parameters.""",
    flow_fraction='It draws from the random stream ``"flow"``.',
)
def scan(
    target: _Target,
    variable_axes: Mapping[Any, Any] = FrozenDict(),
    variable_broadcast: Any = False,
    variable_carry: Any = False,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    *,
    methods: Sequence[str] | None = None,
    resets: Callable[..., jax.Array] | None = None,
    num_batch_dims: int | None = None,
    **options: Any,
) -> _Target:
    r"""A drop-in for :func:`flax.linen.scan` over time; its gradient carries ∇Ω.

    Parameters, their paths and outputs are those of ``nn.scan``, so checkpoints load.
    With ``flow_weight`` > 0 the gradient of an ordinary loss carries ``flow_weight`` ·
    ∇Ω to the module's parameters, and to nothing else; see ``ltd.linen.FlowRNN`` for
    what Ω is. ``ltd.linen.value_and_grad`` reports by the path of the module. Arrays
    that ``target`` closes over count as parameters; what comes from a layer below
    belongs into ``xs``, with ``nn.broadcast`` if all steps are given the same.

    An output that is no leaf of the carry, such as logits that a ``nn.Dense`` in the
    body makes of it, is a branch beside the carry: what the loss reads there is no part
    of δ at that step, and Ω is another than with the head outside of the scan.

    Args:
      target: as in ``nn.scan``: a Module class, or a method or function whose first
        argument is a module; then ``(carry, *xs) -> (carry, ys)``.
      variable_axes: collections with a value for each step; only with Ω off.
      variable_broadcast: collections that steps share.
      variable_carry: collections that each step hands on to the next.
      split_rngs: whether the steps have keys of their own in a random stream.
      in_axes: where time is in the inputs, a prefix tree of ``xs``; ``nn.broadcast``
        for an input that all steps are given.
      out_axes: where time is in the outputs, a prefix tree of ``ys``;
        ``nn.broadcast`` only with Ω off.
      length: number of steps, needed only where no input has time.
      reverse: whether to run from the last time step to the first.
      methods: names of the methods to scan if ``target`` is a class; ``__call__`` by
        default.
      resets: tells where the body itself begins anew, so that Ω and reports leave the
        step out: a function of what a step is given behind the carry that returns
        ``[*batch]`` booleans, such as ``lambda x: x[1]``.
      num_batch_dims: how many leading axes of the carry are batch, as in
        ``ltd.unroll``. By default 1, if the shapes leave no doubt.
      **options: the fields of ``Options``.

    Returns:
      What ``nn.scan`` returns: a class with scanned methods, or a scanned function
      ``(module, carry, *xs) -> (carry, ys)``.

    Raises:
      ValueError: if an option is not one of those above; from what is returned, if the
        shapes do not tell whether there is a batch while Ω, a clip or a report is on.
      TypeError: if ``flow_weight`` is none of these.
      NotImplementedError: on forward-mode or second derivatives while Ω or a
        ``carry_clip`` is on.

    Examples:
      >>> import functools
      >>> import flax.linen as nn
      >>> import jax, jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> class Agent(nn.Module):
      ...     @functools.partial(
      ...         ltd.linen.scan,  # was: nn.scan
      ...         variable_broadcast="params",
      ...         split_rngs={"params": False},
      ...         flow_weight=0.1,
      ...         resets=lambda x: x[1],
      ...     )
      ...     @nn.compact
      ...     def __call__(self, h, x):
      ...         observation, begins = x
      ...         h = jnp.where(begins[:, None], 0.0, h)
      ...         return nn.GRUCell(8)(h, observation)
      >>> x = jnp.ones((20, 2, 3)), jnp.zeros((20, 2), bool)
      >>> variables = Agent().init(jax.random.key(0), jnp.zeros((2, 8)), x)
      >>> h, y = Agent().apply(variables, jnp.zeros((2, 8)), x)
      >>> y.shape
      (20, 2, 8)
    """
    if isinstance(methods, Mapping):
        raise refusal("methods", "None or a sequence of names", methods)
    if num_batch_dims is not None:
        check_count("num_batch_dims", num_batch_dims, at_least=0)
    weight = options.get("flow_weight")
    of_module = callable(weight) and not isinstance(weight, jax.Array)
    if of_module:
        options["flow_weight"] = 0.0
    loop = LiftedScan(
        lifting=Lifting(variable_axes, variable_broadcast, variable_carry, split_rngs),
        in_axes=in_axes,
        out_axes=out_axes,
        length=length,
        reverse=reverse,
        resets=resets,
        num_batch_dims=num_batch_dims,
        options=Options(**options),
    )
    lifted: Any = lift_transform(loop, target, methods=methods)
    return _weighed(loop, weight, target, lifted) if of_module else lifted


def _weighed(
    loop: LiftedScan,
    weight: Any,
    target: Any,
    lifted: Any,
) -> Any:
    """The scan of a method or function, with a weight that its module gives."""
    if isinstance(lifted, type | functools.partial):
        required = "a number or a scalar array around a class"
        raise refusal("flow_weight", required, weight, error=TypeError)

    @functools.wraps(lifted)
    def scanned(module: nn.Module, *args: Any) -> Any:
        options = loop.options.reweighted(weight(module))
        weighed = dataclasses.replace(loop, options=options)
        return lift_transform(weighed, target)(module, *args)

    return scanned

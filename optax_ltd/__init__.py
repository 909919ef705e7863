"""Optax for long-term dependencies: gradients that survive and that arrive."""

from optax_ltd import initializers, linen, plots, tasks
from optax_ltd._flax.nnx.flow_rnn import FlowRNN
from optax_ltd._flax.nnx.value_and_grad import gradient_flow, value_and_grad
from optax_ltd._numerics.tree_norm import global_norm
from optax_ltd._recurrent.carry_clip import CarryClip, clip_carry_gradient
from optax_ltd._recurrent.flow.flossing import flossing_penalty
from optax_ltd._recurrent.flow.information_flow import flow_gains, flow_penalty
from optax_ltd._recurrent.flow.lyapunov_exponents import lyapunov_exponents
from optax_ltd._recurrent.flow.record import FlowRecord
from optax_ltd._recurrent.flow.report import GradientFlow, LayerFlow
from optax_ltd._recurrent.unroll import unroll
from optax_ltd._second_order.gauss_newton import gauss_newton_product
from optax_ltd._second_order.hessian_free import hessian_free
from optax_ltd._transforms.clip_by_average_norm import clip_by_average_norm
from optax_ltd._transforms.clip_by_global_norm import clip_by_global_norm
from optax_ltd._transforms.clip_by_leaf_average_norm import clip_by_leaf_average_norm
from optax_ltd._transforms.clip_by_norm_percentile import clip_by_norm_percentile
from optax_ltd._transforms.clip_by_norm_zscore import clip_by_norm_zscore
from optax_ltd._transforms.clip_by_value import clip_by_value
from optax_ltd._transforms.clip_or_random_step import clip_or_random_step
from optax_ltd._transforms.clip_per_example import clip_per_example
from optax_ltd._transforms.metrics import metrics
from optax_ltd._transforms.momentum_schedule import momentum_schedule
from optax_ltd._transforms.nonfinite_random_step import nonfinite_random_step
from optax_ltd._transforms.raise_if_diverged import raise_if_diverged
from optax_ltd._transforms.skip_steps import skip_steps

__version__ = "0.1.0"

__all__ = [
    "CarryClip",
    "FlowRNN",
    "FlowRecord",
    "GradientFlow",
    "LayerFlow",
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_leaf_average_norm",
    "clip_by_norm_percentile",
    "clip_by_norm_zscore",
    "clip_by_value",
    "clip_carry_gradient",
    "clip_or_random_step",
    "clip_per_example",
    "flossing_penalty",
    "flow_gains",
    "flow_penalty",
    "gauss_newton_product",
    "global_norm",
    "gradient_flow",
    "hessian_free",
    "initializers",
    "linen",
    "lyapunov_exponents",
    "metrics",
    "momentum_schedule",
    "nonfinite_random_step",
    "plots",
    "raise_if_diverged",
    "skip_steps",
    "tasks",
    "unroll",
    "value_and_grad",
]

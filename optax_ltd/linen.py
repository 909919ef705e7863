"""The recurrent layer and its reports for Linen, the older API of Flax."""

from optax_ltd._flax.linen.flow_rnn import FlowRNN
from optax_ltd._flax.linen.scan import scan
from optax_ltd._flax.linen.value_and_grad import gradient_flow, value_and_grad

__all__ = ["FlowRNN", "gradient_flow", "scan", "value_and_grad"]

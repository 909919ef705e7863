"""The ratio of training times that the count of matrix products alone gives.

At each time step of plain training the recurrent matrices take part in three products:
forward, back to the error signal, and for their gradient. The input matrices take part
in two, for nobody asks for the gradient of the network's input. Ω adds two recurrent
products, those of the tangent and of its share in the gradient: the tangent's cotangent
joins the error signal before the products that both need. Differentiating through
back-propagation differentiates the forward product and the backward one, two products
each, beside these two.

Gates, batch and time multiply all of these alike. Element-wise work and what a loop
costs a step are not in it, and a product over all time steps at once counts like many
small ones though it is faster, so a small net may well lie below.
"""

from benchmarks.recurrent.settings import (
    CUDNN,
    LINEN,
    NAIVE,
    NNX,
    NNX_4,
    NNX_16,
    OFF,
    ON,
    QUARTER,
    Setting,
)

INPUT_PRODUCTS = 2
PLAIN = (NNX, NNX_4, NNX_16, LINEN, OFF, *CUDNN.values())
RECURRENT_PRODUCTS = dict.fromkeys(PLAIN, 3.0) | {ON: 5, QUARTER: 3 + 2 / 4, NAIVE: 6}
GATES = {"SimpleCell": 1, "GRUCell": 3, "OptimizedLSTMCell": 4}


def flops(contestant: str, setting: Setting) -> float:
    """Floating-point operations of the products of one training step."""
    recurrent = RECURRENT_PRODUCTS[contestant] * setting.hidden
    inputs = INPUT_PRODUCTS * setting.inputs
    rows = setting.time * setting.batch
    return 2 * rows * GATES[setting.cell] * setting.hidden * (recurrent + inputs)


def floor(contestant: str, measure: str, setting: Setting) -> float:
    """What one contestant's products cost over those of another."""
    return flops(contestant, setting) / flops(measure, setting)

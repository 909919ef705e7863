"""Forms of Ω, each with weights that make it as strong as the others before training.

The weights of the second are a 20th of those of the first: its sum over 50 steps is
about as much stronger before training than the mean. So rows can be compared in turn.
"""

from typing import NamedTuple


class Form(NamedTuple):
    """What Ω is, and the weights to try.

    Attributes:
      user: Who takes it, unless told otherwise.
      options: Of `optax_ltd.FlowRNN`, and of a config.
      weights: From none to far too large.
    """

    user: str
    options: dict[str, str]
    weights: tuple[float, ...]


FORMS = (
    Form(
        "optax-ltd train",
        {
            "flow_form": "squared_ratio",
            "flow_reduction": "mean",
            "flow_params": "recurrent",
        },
        (0.0, 0.05, 0.15, 0.5, 1.0, 2.0, 4.0, 8.0, 40.0),
    ),
    Form(
        "ltd.FlowRNN",
        {"flow_form": "ratio", "flow_reduction": "sum", "flow_params": "all"},
        (0.0, 0.0025, 0.0075, 0.025, 0.05, 0.1, 0.2, 0.4, 2.0),
    ),
)

"""The training methods that an experiment compares."""

import dataclasses
import math

import optax

import optax_ltd as ltd


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to train: what happens to the gradient, and the weight of Ω.

    Attributes:
      name: What tables and pictures call it.
      guard: What the gradient passes through before the optimiser's step. If
        `optax_ltd.metrics` finds a count of gradients that are not finite in its
        state, a run shows it.
      flow_weight: Weight of the information-flow regulariser Ω; 0 for none.
    """

    name: str
    guard: optax.GradientTransformation
    flow_weight: float


# A clip that never clips still counts.
SGD = Method("SGD", ltd.clip_by_global_norm(math.inf), flow_weight=0.0)
CLIP = Method("SGD + clip", ltd.clip_by_global_norm(1.0), flow_weight=0.0)
CLIP_FLOW = Method("SGD + clip + Ω", ltd.clip_by_global_norm(1.0), flow_weight=2.0)

"""What Hessian-free optimisation is told once."""

from typing import NamedTuple, TypeAlias

import jax

from optax_ltd._numerics.shards import Axes
from optax_ltd._second_order.structural_damping import HiddenDistance

Number: TypeAlias = jax.Array | float


class Options(NamedTuple):
    """The hyperparameters that an update reads."""

    damping: Number
    structural_damping: Number
    hidden_distance: HiddenDistance
    max_cg_iterations: int
    preconditioner_exponent: Number
    warm_start: Number
    axes: Axes

    @property
    def is_structural(self) -> bool:
        """Whether there is structural damping; an array counts as some."""
        strength = self.structural_damping
        return isinstance(strength, jax.Array) or strength != 0

"""What a guard adds to the time in which an update is compiled.

Updates with sgd, lowered and compiled in turns with every cache of JAX cleared. XLA
makes a kernel of every fusion, and one for each leaf and each use of it. So the count
of fusions says where the time goes: the scaled sum of squares, which runs where the
plain one overflowed or vanished, has as many as that one; and where a random step may
stand in the place of the gradient, its numbers are part of the update of each leaf.

    python -m benchmarks.updates.compile_time
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks import records, timing
from benchmarks.cases import measure_each
from benchmarks.updates import settings
from benchmarks.updates.cost import transformation

CONTESTANTS = (
    settings.OPTAX_CLIP,
    settings.CLIP,
    settings.LEAVES,
    settings.SKIP,
    settings.GUARD,
    settings.SPHERE,
)


class Parameters(NamedTuple):
    """What is updated.

    Attributes:
      leaves: how many arrays.
      shapes: how many different shapes they have.
    """

    leaves: int
    shapes: int

    @property
    def tree(self) -> list[jax.ShapeDtypeStruct]:
        """The parameters, without their values."""
        sizes = [(100 + i % self.shapes, 50) for i in range(self.leaves)]
        return [jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes]


SETTINGS = [Parameters(20, 20), Parameters(100, 4)]


def compile_update(name: str, params: list[jax.ShapeDtypeStruct]) -> Any:
    """Compiles one update.

    Args:
      name: one of CONTESTANTS.
      params: what is updated.

    Returns:
      The compiled program.
    """
    tx: Any = transformation(name, "sgd")

    def step(params: Any, gradient: Any, state: Any) -> Any:
        changes, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, changes), state

    state = jax.eval_shape(tx.init, params)
    jitted = jax.jit(step, donate_argnums=(0, 2))
    return jitted.lower(params, params, state).compile()


def contestant(name: str, params: list[jax.ShapeDtypeStruct]) -> timing.Contestant:
    """One that compiles where others run.

    Args:
      name: one of CONTESTANTS.
      params: what is updated.

    Returns:
      The contestant. Its carry is how many fusions the program has.
    """

    def step(carry: int) -> int:
        del carry
        jax.clear_caches()
        return (compile_update(name, params).as_text() or "").count(" fusion(")

    return timing.Contestant(step, 0)


def run(setting: Parameters, rounds: int) -> dict[str, Any]:
    """Measures one setting.

    Args:
      setting: what is updated.
      rounds: compilations of each contestant.

    Returns:
      The record. `fusions` has how many each program has.
    """
    contestants = {name: contestant(name, setting.tree) for name in CONTESTANTS}
    return records.record(
        "compile_time",
        setting._asdict(),
        contestants,
        timing.interleave(contestants, rounds=rounds, warmup=1),
        measure=settings.OPTAX_CLIP,
        fusions={name: one.step(0) for name, one in contestants.items()},
    )


if __name__ == "__main__":
    measure_each(
        SETTINGS, run, rounds=7, about=__doc__, tiny=[Parameters(leaves=2, shapes=2)]
    )

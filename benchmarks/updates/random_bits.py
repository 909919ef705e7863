"""What the bits and the direction of a random step cost.

A random step in the place of a gradient. `signs` draws its bits by a counter that is
mixed with the key twice, `signs, jax.random.bits` by that function; `sphere` needs a
normal number an entry. All leaves have one shape. The contestants took turns in being
compiled as well, with every cache of JAX cleared; ratios are of medians there.

    python -m benchmarks.updates.random_bits
"""

import contextlib
import functools
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import records, timing
from benchmarks.cases import measure_each
from optax_ltd._transforms import _random_step

SIGNS, JAX_BITS, SPHERE = "signs", "signs, jax.random.bits", "sphere"
CONTESTANTS = (SIGNS, JAX_BITS, SPHERE)
COMPILATIONS = 5


class Step(NamedTuple):
    """What a random step is laid out as.

    Attributes:
      leaves: how many arrays.
      entries: of each.
    """

    leaves: int
    entries: int


STEPS = [Step(1, 100_000), Step(40, 100_000)]


def contestant(name: str, setting: Step) -> timing.Contestant:
    """Compiles one random step.

    Args:
      name: one of CONTESTANTS.
      setting: what the step is laid out as.

    Returns:
      The contestant.
    """
    draw = functools.partial(
        _random_step.random_step,
        jax.random.key_data(jax.random.key(0)),
        length=1.0,
        direction="sphere" if name == SPHERE else "signs",
    )

    def step(carry: Any, needed: jax.Array) -> Any:
        count, like = carry
        return count + 1, draw(count, like, needed=needed)

    like = [jnp.ones(setting.entries) for _ in range(setting.leaves)]
    bits = mock.patch.object(_random_step, "_bits", jax.random.bits)
    jax.clear_caches()  # Else the bits of an earlier contestant are found there.
    with bits if name == JAX_BITS else contextlib.nullcontext():
        carry = jnp.zeros((), jnp.int32), like
        return timing.compiled(step, carry, jnp.asarray(True))


def run(setting: Step, rounds: int) -> dict[str, Any]:
    """Measures one setting.

    Args:
      setting: what the step is laid out as.
      rounds: timings of each contestant.

    Returns:
      The record. `compilations` has the seconds of all of them.
    """
    made = [
        {name: contestant(name, setting) for name in CONTESTANTS}
        for _ in range(COMPILATIONS)
    ]
    compilations = {
        name: [one[name].compile_seconds for one in made] for name in made[0]
    }
    contestants = {
        name: one._replace(compile_seconds=float(np.median(compilations[name])))
        for name, one in made[-1].items()
    }
    return records.record(
        "random_bits",
        setting._asdict(),
        contestants,
        timing.interleave(contestants, rounds=rounds),
        measure=SIGNS,
        compilations=compilations,
    )


if __name__ == "__main__":
    measure_each(STEPS, run, rounds=30, about=__doc__)

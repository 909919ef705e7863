"""Times contestants side by side.

Timings of one process drift with the machine, so contestants take turns.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Contestant(NamedTuple):
    """Something to time.

    Attributes:
      step: takes the carry and returns the next one; called over and over. It may
        donate the carry.
      carry: the first carry.
      compile_seconds: what making `step` took.
      executable: the compiled program, where JAX made it.
    """

    step: Callable[[Any], Any]
    carry: Any
    compile_seconds: float = 0.0
    executable: Any = None


def compiled(
    function: Callable[..., Any], carry: Any, *constants: Any, donate: bool = True
) -> Contestant:
    """Compiles ``carry = function(carry, *constants)`` and times the compilation.

    Args:
      function: a function of arrays.
      carry: its first argument, which it returns anew.
      *constants: its other arguments.
      donate: whether the carry's buffers are donated.

    Returns:
      The contestant.
    """
    jitted = jax.jit(function, donate_argnums=(0,) if donate else ())
    start = time.perf_counter()
    executable = jitted.lower(carry, *constants).compile()
    seconds = time.perf_counter() - start
    step = lambda carry: executable(carry, *constants)
    return Contestant(step, carry, seconds, executable)


def interleave(
    contestants: Mapping[str, Contestant], *, rounds: int = 30, warmup: int = 3
) -> dict[str, np.ndarray]:
    """Times one step of each contestant in turn, round after round.

    Args:
      contestants: by name.
      rounds: how many timings of each to keep.
      warmup: how many rounds to throw away first.

    Returns:
      Seconds, [rounds], by name.
    """
    return interleave_chains(contestants, (1,), rounds=rounds, warmup=warmup)[1]


def interleave_chains(
    contestants: Mapping[str, Contestant],
    lengths: Sequence[int],
    *,
    rounds: int = 30,
    warmup: int = 3,
) -> dict[int, dict[str, np.ndarray]]:
    """Times chains of steps that are launched without waiting for one another.

    Args:
      contestants: by name.
      lengths: how many steps are in a chain. One of n steps takes its turn in every
        n-th round, so that each length costs as much as any other.
      rounds: how many timings of each to keep.
      warmup: how many rounds to throw away first.

    Returns:
      Seconds a step, [timings], by length and name.
    """
    carries = {name: contestant.carry for name, contestant in contestants.items()}
    names = list(contestants)
    seconds: dict[int, dict[str, list[float]]] = {
        length: {name: [] for name in names} for length in lengths
    }
    shuffled = np.random.default_rng(0)
    for i in range(warmup + rounds):
        # Nobody always runs in the wake of the same neighbour.
        for name in (names[j] for j in shuffled.permutation(len(names))):
            for length in lengths:
                if (i - warmup) % length:
                    continue
                jax.block_until_ready(carries[name])
                start = time.perf_counter()
                for _ in range(length):
                    carries[name] = contestants[name].step(carries[name])
                jax.block_until_ready(carries[name])
                if i >= warmup:
                    passed = time.perf_counter() - start
                    seconds[length][name].append(passed / length)
    return {
        length: {name: np.asarray(values) for name, values in of_length.items()}
        for length, of_length in seconds.items()
    }

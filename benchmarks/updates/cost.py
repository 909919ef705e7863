"""What a guard adds to the cost of an update.

A whole update, jitted and donated, from the gradient to the new parameters, against
the same with `optax.clip_by_global_norm`. *Metrics returned* is the same update whose
caller reads `optax_ltd.metrics` after every step; the state records what they are made
of in any case. A loop that does not wait after each update is timed as well, by chains
of ten. `optax.apply_if_finite` stands around that clip and the optimiser,
`skip_steps` around the optimiser alone. By the count of arrays that is 8/7 of the bare
update with adam: that one reads or writes seven of the size of the parameters, and
whether to skip is known once the gradient has been read before.

`clip_or_random_step` is the form to use. Chained, `nonfinite_random_step` and
`clip_by_global_norm` do the same, but each measures the gradient, and what the second
one measures must first be written to memory: use it where the two need different sizes.

What is proof against overflow compiles longer than Optax's clip. On a CPU XLA compiles
a kernel for each leaf and each use of it: the scaled sum of squares, which runs where
the plain one overflowed or vanished, has as many as that one, and the random signs make
those of the update larger.

    python -m benchmarks.updates.cost
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_ltd as ltd
from benchmarks import records, timing
from benchmarks.cases import measure_each
from benchmarks.updates import settings
from benchmarks.updates.settings import Setting

OPTIMIZERS = {"sgd": lambda: optax.sgd(1e-2), "adam": lambda: optax.adam(1e-3)}
CHAIN = 10  # How many updates a real loop may launch before it waits.
GUARDS = {
    settings.NONE: optax.identity,
    settings.OPTAX_CLIP: lambda: optax.clip_by_global_norm(1.0),
    settings.CLIP: lambda: ltd.clip_by_global_norm(1.0),
    settings.GUARD: lambda: ltd.clip_or_random_step(1.0, key=0),
    settings.READ: lambda: ltd.clip_or_random_step(1.0, key=0),
    settings.CHAINED: lambda: optax.chain(
        ltd.nonfinite_random_step(1.0, key=0), ltd.clip_by_global_norm(1.0)
    ),
    settings.LEAVES: lambda: ltd.clip_by_leaf_average_norm(),
    settings.VALUE: lambda: ltd.clip_by_value(1e-4),
    settings.RANDOM: lambda: ltd.nonfinite_random_step(1.0, key=0),
    settings.SPHERE: lambda: ltd.clip_or_random_step(1.0, key=0, direction="sphere"),
}


def transformation(name: str, optimizer: str) -> optax.GradientTransformation:
    """A guard in a chain with an optimiser.

    Args:
      name: a contestant.
      optimizer: a key of OPTIMIZERS.

    Returns:
      The whole optimiser.
    """
    if name == settings.APPLY_IF_FINITE:
        inner = transformation(settings.OPTAX_CLIP, optimizer)
        return optax.apply_if_finite(inner, max_consecutive_errors=10**9)
    if name == settings.SKIP:
        return ltd.skip_steps(OPTIMIZERS[optimizer]())
    return optax.chain(GUARDS[name](), OPTIMIZERS[optimizer]())


def contestant(
    name: str, setting: Setting, gradient: list[jax.Array]
) -> timing.Contestant:
    """Compiles one update.

    Args:
      name: a contestant.
      setting: what it is measured on.
      gradient: the gradient of every step.

    Returns:
      The contestant.
    """
    tx: Any = transformation(name, setting.optimizer)

    def step(carry: Any, gradient: Any) -> Any:
        params, state, _ = carry
        changes, state = tx.update(gradient, state, params)
        read = ltd.metrics(state) if name == settings.READ else {}
        return optax.apply_updates(params, changes), state, read

    params = [jnp.ones(leaf.shape, setting.dtype) for leaf in gradient]
    # Adam's moments have the dtype of the parameters, until the first gradient.
    _, later = jax.eval_shape(tx.update, gradient, tx.init(params), params)
    state = jax.tree.map(lambda x, y: x.astype(y.dtype), tx.init(params), later)
    read = ltd.metrics(state) if name == settings.READ else {}
    return timing.compiled(step, (params, state, read), gradient)


def run(setting: Setting, rounds: int) -> dict[str, Any]:
    """Measures one setting.

    Args:
      setting: the setting.
      rounds: timings of each contestant.

    Returns:
      The record. `failed` has what those raised that cannot make the update.
    """
    keys = jax.random.split(jax.random.key(0), setting.leaves)
    gradient = [jax.random.normal(key, setting.shape) for key in keys]
    if setting.gradient == "nan":
        gradient[-1] = gradient[-1].at[-1, -1].set(jnp.nan)
    contestants, failed = {}, {}
    for name in settings.contestants(setting, jax.default_backend()):
        try:
            contestants[name] = contestant(name, setting, gradient)
        except TypeError as error:
            failed[name] = f"TypeError: {str(error).splitlines()[0]}"
    timed = timing.interleave_chains(contestants, (1, CHAIN), rounds=rounds)
    measure = settings.OPTAX_CLIP
    chained = {
        name: records.quartiles(seconds / timed[CHAIN][measure])
        for name, seconds in timed[CHAIN].items()
    }
    return records.record(
        "update_cost",
        setting._asdict(),
        contestants,
        timed[1],
        measure=measure,
        failed=failed,
        chained={"updates": CHAIN, "ratio": chained},
    )


if __name__ == "__main__":
    measure_each(
        settings.CPU_SETTINGS,
        run,
        rounds=30,
        about=__doc__,
        accelerator=settings.ACCELERATOR_SETTINGS,
        tiny=[settings.TINY],
    )

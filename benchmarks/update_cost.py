"""What a guard adds to the cost of an update.

A whole update of 20 M float32 parameters, jitted and donated, against the same
with `optax.clip_by_global_norm`:

    python -m benchmarks.update_cost
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import optax

import optax_ltd as ltd
from benchmarks import records

MEASURE = "optax.clip_by_global_norm"
OPTIMIZERS = {"sgd": lambda: optax.sgd(1e-2), "adam": lambda: optax.adam(1e-3)}
GUARDS = {
    "none": optax.identity,
    MEASURE: lambda: optax.clip_by_global_norm(1.0),
    "clip_by_value": lambda: ltd.clip_by_value(1e-4),
    "clip_by_global_norm": lambda: ltd.clip_by_global_norm(1.0),
    "nonfinite_random_step": lambda: ltd.nonfinite_random_step(1.0, key=0),
    "clip_or_random_step": lambda: ltd.clip_or_random_step(1.0, key=0),
    "clip_or_random_step, sphere": lambda: ltd.clip_or_random_step(
        1.0, key=0, direction="sphere"
    ),
}
NONFINITE = ("nonfinite_random_step", "clip_or_random_step")


def updates(
    optimizer: str, guards: tuple[str, ...], gradient: list[jax.Array]
) -> dict[str, records.Contestant]:
    """Compiles one update per guard, with the guard inside the chain.

    Args:
      optimizer: a key of OPTIMIZERS.
      guards: keys of GUARDS; `apply_if_finite` is added to the list.
      gradient: the gradient of every step.

    Returns:
      Contestants by name.
    """
    chains: dict[str, optax.GradientTransformation] = {
        name: optax.chain(GUARDS[name](), OPTIMIZERS[optimizer]()) for name in guards
    }
    chains["optax.apply_if_finite"] = optax.apply_if_finite(chains[MEASURE], 10**9)

    def contestant(tx: optax.GradientTransformation) -> records.Contestant:
        def step(carry: Any, gradient: Any) -> Any:
            params, state = carry
            changes, state = tx.update(gradient, state, params)
            return optax.apply_updates(params, changes), state

        params = jax.tree.map(jnp.ones_like, gradient)
        return records.compiled(step, (params, tx.init(params)), gradient)

    return {name: contestant(tx) for name, tx in chains.items()}


def run(
    optimizer: str, kind: str, *, leaves: int, shape: tuple[int, ...], rounds: int
) -> dict[str, Any]:
    """Measures one case.

    Args:
      optimizer: a key of OPTIMIZERS.
      kind: `"finite"`, a gradient above the threshold, or `"nan"`, one bad entry.
      leaves: how many arrays the parameters are in.
      shape: of each of them.
      rounds: timings of each contestant.

    Returns:
      The record.
    """
    keys = jax.random.split(jax.random.key(0), leaves)
    gradient = [jax.random.normal(key, shape) for key in keys]
    guards = tuple(GUARDS)
    if kind == "nan":
        gradient[-1] = gradient[-1].reshape(-1).at[-1].set(jnp.nan).reshape(shape)
        guards = (MEASURE, *NONFINITE)
    contestants = updates(optimizer, guards, gradient)
    seconds = records.interleave(contestants, rounds=rounds)
    case = {"optimizer": optimizer, "gradient": kind}
    config = {"leaves": leaves, "shape": list(shape), "dtype": "float32"}
    return records.record(
        "update_cost", case, contestants, seconds, measure=MEASURE, config=config
    )


def main() -> None:
    """Runs every case, prints the ratios and writes the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=40)
    parser.add_argument("--shape", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    for optimizer in OPTIMIZERS:
        for kind in ("finite", "nan"):
            entry = run(
                optimizer,
                kind,
                leaves=options.leaves,
                shape=tuple(options.shape),
                rounds=options.rounds,
            )
            records.write_and_show(entry)


if __name__ == "__main__":
    main()

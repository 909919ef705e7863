"""What guards make of spoilt gradients: the same networks, batches and faults for all.

Tanh units learn temporal order with Ω, SGD and a clip at norm 1, which is the size of a
random step too. Before the guard some gradients are spoilt: an Inf or a NaN in one
entry, a leaf that is all NaN, or all entries times 1e30, the right direction still,
though its squared norm is beyond float32. A seed has *solved* the task once fewer than
1 % of 10,000 fresh sequences are wrong; it goes on to the end of the budget and is
tested there again. *No step*: nothing moved though there was a gradient. *Another
step*: what moved has a cosine below a half to the gradient before the fault. An Inf or
a NaN in an update ends the run and with it the counts. What skips steps stands around
the clip, and sgd, which has no state, behind it. The rules of MaxText and levanter were
written anew from their code (`benchmarks/faults/spike_skipping.py`).

    python -m benchmarks.faults.faulty_gradients
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

import optax_ltd as ltd
from benchmarks import records
from benchmarks.faults.injection import NAN, Faults, inject_faults
from benchmarks.faults.lost_steps import LostSteps, count_lost_steps
from benchmarks.faults.spike_skipping import skip_step_on_spikes, skipstep
from optax_ltd.experiments.parts.config import Config
from optax_ltd.experiments.parts.problem import make_task
from optax_ltd.experiments.parts.setup import make_setup
from optax_ltd.experiments.training.runner import Runner

CASES = {
    "scattered": Faults(rate=0.01),
    "burst": Faults(burst=range(100, 110), kinds=(NAN,)),
}
METHOD = "flow"  # beside the guards
FAULT_KEY = 0
MAX_CONSECUTIVE_ERRORS = 5  # `apply_if_finite` lets what comes after them pass


def _fallback(**choice: Any) -> optax.GradientTransformation:
    return optax.chain(ltd.nonfinite_random_step(**choice), ltd.clip_by_global_norm(1))


SKIP = "skip_steps, clip_by_global_norm"
SKIP_SPIKES = "skip_steps with zscore=6, clip_by_global_norm"
NO_FAULTS = "clip_by_global_norm, no faults"
FALLBACKS = {
    "nonfinite_random_step, random": lambda: _fallback(step_size=1.0, key=1),
    "nonfinite_random_step, zero": lambda: _fallback(fallback="zero"),
    "nonfinite_random_step, shrink": lambda: _fallback(fallback="shrink"),
}
GUARDS: dict[str, Callable[[], optax.GradientTransformation]] = {
    NO_FAULTS: lambda: ltd.clip_by_global_norm(1.0),
    "clip_or_random_step": lambda: ltd.clip_or_random_step(1.0, key=1),
    **FALLBACKS,
    SKIP: lambda: ltd.skip_steps(ltd.clip_by_global_norm(1.0)),
    SKIP_SPIKES: lambda: ltd.skip_steps(ltd.clip_by_global_norm(1.0), zscore=6.0),
    "clip_by_global_norm": lambda: ltd.clip_by_global_norm(1.0),
    "optax.clip_by_global_norm": lambda: optax.clip_by_global_norm(1.0),
    "optax.zero_nans, optax.clip_by_global_norm": lambda: optax.chain(
        optax.zero_nans(), optax.clip_by_global_norm(1.0)
    ),
    "optax.apply_if_finite, optax.clip_by_global_norm": lambda: optax.apply_if_finite(
        optax.clip_by_global_norm(1.0), MAX_CONSECUTIVE_ERRORS
    ),
    "MaxText's skip_step_on_spikes, optax.clip_by_global_norm": lambda: (
        skip_step_on_spikes(optax.clip_by_global_norm(1.0))
    ),
    "levanter's skipstep, optax.clip_by_global_norm": lambda: skipstep(
        optax.clip_by_global_norm(1.0)
    ),
}


def train(name: str, faults: Faults, config: Config) -> dict[str, Any]:
    """Trains all seeds behind one guard, to the end of the budget.

    Args:
      name: a key of GUARDS.
      faults: what is spoilt, unless the name is NO_FAULTS.
      config: the task and the budget.

    Returns:
      What came out: `solved_at`, `error` at the end, lost steps and faults, each with
      a number a seed.
    """
    faults = Faults(kinds=faults.kinds) if name == NO_FAULTS else faults
    injected = inject_faults(faults, jax.random.key(FAULT_KEY))
    watched = count_lost_steps(optax.chain(injected, GUARDS[name]()))
    # The runner asks for a record, which a clip keeps that never clips.
    recorder = ltd.clip_by_global_norm(float("inf"))
    optimizer = optax.chain(watched, recorder, optax.sgd(config.learning_rate))
    setup = dataclasses.replace(make_setup(config), new_optimizer=lambda _: optimizer)
    runner = Runner(setup)
    runner.train(config.updates)  # not till it is over: all meet the same faults
    states: Any = runner.opt_state
    lost: LostSteps = states[0]
    counts = np.asarray(lost.inner[0].counts)
    run = runner.run
    return {
        "solved_at": run.solved_at,
        "error": [round(float(error), 4) for error in run.evaluations[-1].error],
        "zero": lost.zero.tolist(),
        "replaced": lost.replaced.tolist(),
        "broken_at": [at if at >= 0 else None for at in lost.broken_at.tolist()],
        "faults": dict(zip(faults.kinds, counts.T.tolist(), strict=True)),
        "seconds": run.seconds,
    }


def entry(
    case: str, config: Config, trained: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Puts together the record of one case.

    Args:
      case: a key of CASES.
      config: the task and the budget.
      trained: what `train` returned, by guard.

    Returns:
      A dictionary that JSON can hold.
    """
    faults, task = CASES[case], make_task(config)
    return {
        "benchmark": "faulty_gradients",
        "case": {"faults": case},
        "environment": records.environment(),
        "config": {
            "task": task.name,
            "length": task.length,
            "seeds": config.seeds,
            "updates": config.updates,
            "test_every": config.test_every,
            "hidden_size": config.hidden_size,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "flow_weight": config.flow_weight,
            "max_consecutive_errors": MAX_CONSECUTIVE_ERRORS,
        },
        "rate": faults.rate,
        "burst": [faults.burst.start, faults.burst.stop],
        "solved_below": task.solved_below,
        "guards": dict(trained),
    }


def main() -> None:
    """Trains in every case behind every guard and writes the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--length", type=int, default=30)
    options = parser.parse_args()
    config = Config(
        method=METHOD,
        length=options.length,
        seeds=options.seeds,
        updates=options.updates,
    )
    for case, faults in CASES.items():
        trained = {}
        for name in GUARDS:
            trained[name] = came = train(name, faults, config)
            print(f"{case}: {name}: solved at {came['solved_at']}", flush=True)
        print(records.write(entry(case, config, trained)))


if __name__ == "__main__":
    main()

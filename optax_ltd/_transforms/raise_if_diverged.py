"""Stop a training run whose gradients are lost."""

from typing import Any

import jax
import jax.core
import numpy as np

from optax_ltd._numerics.checks import check_count
from optax_ltd._transforms.metrics import records
from optax_ltd._transforms.records.record import (
    GradientRecord,
    leaf_paths,
    path_checksum,
)
from optax_ltd._transforms.records.skips import NO_LIMIT, SkipRecord


def raise_if_diverged(opt_state: Any, params: Any, *, patience: int = 1) -> None:
    """Raises if the last gradients were not finite, and names the first bad leaf.

    For the host side of a training loop, after a step or every few hundred. It
    reads a few scalars of the optimiser's state and no parameter, but waits for
    the step that computes them.

    Behind a clip alone a non-finite gradient spoils the parameters, and all later
    gradients with them, so that the default raises at once. A guard such as
    `clip_or_random_step` outlives one now and then; give it some `patience`.
    `skip_steps` has its own, `max_consecutive`, which counts whatever it skipped; if
    that is given, `patience` is not asked. It is asked for what stands in the chain
    outside of `skip_steps`.

    Args:
      opt_state: the state of an optimiser with a transformation of this package.
      params: the parameters, or any tree with the same paths (gradients, a
        `flax.nnx` module or its state). Only its paths are used.
      patience: how many non-finite gradients in a row are too many; at least 1.

    Raises:
      FloatingPointError: some transformation met at least `patience` non-finite
        gradients in a row, up to the last one it saw, or `skip_steps` skipped
        `max_consecutive` steps. The message names the first
        leaf of the last gradient with an Inf or a NaN (the first in the order of
        `jax.tree.leaves`) by its path in `params`.
      ValueError: nothing in `opt_state` records gradients, or it is traced (call
        this function outside `jax.jit`), or `patience` is no int of at least 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_ltd as ltd
      >>> tx = ltd.clip_by_global_norm(1.0)
      >>> params = {"bias": jnp.zeros(2), "kernel": jnp.zeros((2, 2))}
      >>> state = tx.init(params)
      >>> ltd.raise_if_diverged(state, params)
      >>> gradient = {"bias": jnp.ones(2), "kernel": jnp.full((2, 2), jnp.nan)}
      >>> _, state = tx.update(gradient, state)
      >>> ltd.raise_if_diverged(state, params)
      Traceback (most recent call last):
      FloatingPointError: the last gradient that clip_by_global_norm met was not \
finite: Inf or NaN in ['kernel'] (1 of 1 gradients so far)
    """
    patience = check_count("patience", patience, at_least=1)
    for name, record, skips in records(opt_state):
        if any(isinstance(value, jax.core.Tracer) for value in record):
            raise ValueError(
                "`raise_if_diverged` must be called outside `jax.jit`; got a traced "
                "`opt_state`. Inside, read `metrics(opt_state)`."
            )
        record, skips = jax.device_get((record, skips))
        if skips is None or np.all(skips.max_consecutive == NO_LIMIT):
            _check(name, record, params, patience)
        else:
            _check_skips(name, record, skips, params)


def _check_skips(
    name: str, record: GradientRecord, skips: SkipRecord, params: Any
) -> None:
    lost = np.ravel(skips.skipped_run >= skips.max_consecutive)
    if not np.any(lost):
        return
    member = int(np.argmax(lost))
    one, counts = (_member(r, member, lost.size) for r in (record, skips))
    whose = f" of member {member}" if lost.size > 1 else ""
    causes = [
        f"{count} for {cause.removeprefix('skipped_')}"
        for cause, count in zip(counts._fields, counts.causes, strict=False)
        if count
    ]
    last = f", the last one at update {counts.last_skipped_update}"
    last += f"; Inf or NaN in {_leaf_name(one, params)}" if one.nonfinite_run else ""
    steps = "step" if counts.skipped_run == 1 else f"{counts.skipped_run} steps"
    raise FloatingPointError(
        f"{name} skipped the last {steps}{whose}, and its `max_consecutive` is "
        f"{counts.max_consecutive}: of {one.total_count} so far {', '.join(causes)}"
        f"{last}"
    )


def _check(name: str, record: GradientRecord, params: Any, patience: int) -> None:
    runs = np.ravel(record.nonfinite_run)
    if not np.any(runs >= patience):
        return
    member = int(np.argmax(runs >= patience))
    one = _member(record, member, runs.size)
    run = one.nonfinite_run
    gradients = "gradient" if run == 1 else f"{run} gradients"
    whose = f" by member {member}" if runs.size > 1 else ""
    raise FloatingPointError(
        f"the last {gradients} that {name} met{whose} "
        f"{'was' if run == 1 else 'were'} not finite: Inf or NaN in "
        f"{_leaf_name(one, params)} ({one.nonfinite_count} of {one.total_count} "
        "gradients so far)"
    )


def _member(record: Any, member: int, members: int) -> Any:
    """The numbers of one member of an ensemble."""
    # Of a window the first entry, which is not read.
    rows = (np.reshape(field, (members, -1))[member] for field in record)
    return type(record)(*(row[0].item() for row in rows))


def _leaf_name(record: GradientRecord, params: Any) -> str:
    # By its path's checksum: under a mask the index counts other leaves.
    for path in leaf_paths(params):
        if path_checksum(path) == record.first_bad_path:
            return jax.tree_util.keystr(path) or "the only leaf"
    return f"leaf {record.first_bad_leaf}, which has no counterpart in `params`"

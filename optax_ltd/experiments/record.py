"""What is kept of a run."""

import os
import platform
import time
from importlib import metadata
from typing import Any

import jax

from optax_ltd.experiments.run import Run

PACKAGES = ("flax", "jax", "jaxlib", "numpy", "optax", "optax_ltd", "orbax-checkpoint")


def record(run: Run) -> dict[str, Any]:
    """A run and where it was made, as JSON holds it.

    Args:
      run: the run.
    """
    return {"environment": environment(), **run.to_dict()}


def environment() -> dict[str, Any]:
    """Versions and device."""
    device = jax.devices()[0]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": cores(),
        "x64": bool(jax.config.read("jax_enable_x64")),
    }


def cores() -> int | None:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""Versions and devices: where numbers come from."""

import os
import platform
import time
from importlib import metadata
from typing import Any

import jax

PACKAGES = ("flax", "jax", "jaxlib", "numpy", "optax", "optax_ltd", "orbax-checkpoint")


def environment(*packages: str) -> dict[str, Any]:
    """Date, versions and device.

    Args:
      *packages: others whose versions matter.
    """
    device = jax.devices()[0]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*PACKAGES, *packages)},
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

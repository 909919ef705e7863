"""Commit, versions and devices: where numbers come from."""

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import optax_ltd as ltd

PACKAGES = ("flax", "jax", "jaxlib", "numpy", "optax", "optax_ltd", "orbax-checkpoint")
_CHECKOUT = Path(__file__).parents[3]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=_CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def source(*paths: str) -> dict[str, Any]:
    """The commit, and whether any of these has changed since; null outside a checkout.

    Args:
      *paths: from the root of the checkout, as git takes them.
    """
    # An environment inside some other checkout is none of ours.
    if _git("ls-files", "optax_ltd/__init__.py") != "optax_ltd/__init__.py":
        return {"commit": None, "modified": None}
    changed = _git("status", "--porcelain", "--", *paths)
    return {"commit": _git("rev-parse", "HEAD"), "modified": bool(changed)}


# Looked up when the code is loaded: a run takes minutes or hours, and the checkout may
# have moved on by its end.
_LOADED = source("optax_ltd")


def environment(*packages: str) -> dict[str, Any]:
    """Commit, date, versions and device.

    Args:
      *packages: others whose versions matter.
    """
    device = jax.devices()[0]
    return {
        **_LOADED,
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
    if name == "optax_ltd":
        return ltd.__version__  # also of a checkout that nobody installed
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""The devices that a run is spread over."""

import re

import jax

from optax_ltd.experiments.input_error import InputError
from optax_ltd.experiments.parts.config import Config


def make_mesh(text: str, config: Config) -> jax.sharding.Mesh:
    """A mesh with the axes ``seeds`` and ``batch``.

    Args:
      text: how many devices along each, such as 2x4; or along ``seeds`` alone.
      config: of the run, whose seeds and sequences the devices share evenly.

    Raises:
      InputError: if it is no such text, there are too few devices, or they cannot
        share evenly.
    """
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise InputError(
            "a device mesh must be devices for the seeds x devices for the batch, "
            f"such as 2x4; got {text!r}"
        )
    seeds, batch = map(int, (text + "x1").split("x")[:2])
    count = jax.device_count()
    if seeds * batch > count:
        raise InputError(
            f"a device mesh of {text} needs {seeds * batch} devices; "
            f"this machine has {count}"
        )
    for name, share in (("seeds", seeds), ("batch_size", batch)):
        whole = getattr(config, name)
        if whole % share:
            raise InputError(
                f"a device mesh of {text} needs a `{name}` that {share} divides, "
                f"got {whole}"
            )
    automatic = (jax.sharding.AxisType.Auto,) * 2
    devices = jax.devices()[: seeds * batch]
    return jax.make_mesh((seeds, batch), ("seeds", "batch"), automatic, devices=devices)

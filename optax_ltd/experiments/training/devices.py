"""The devices that a run is spread over."""

import re

import jax

from optax_ltd.experiments.input_error import refusal
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
        told = "devices for the seeds x devices for the batch, such as 2x4"
        raise refusal("device_mesh", told, repr(text))
    seeds, batch = map(int, (text + "x1").split("x")[:2])
    count = jax.device_count()
    if seeds * batch > count:
        told = f"of no more devices than this machine has, {count}"
        raise refusal("device_mesh", told, f"{text}, of {seeds * batch}")
    for name, share in (("seeds", seeds), ("batch_size", batch)):
        whole = getattr(config, name)
        if whole % share:
            told = f"a multiple of {share} for a device mesh of {text}"
            raise refusal(name, told, f"{whole}")
    automatic = (jax.sharding.AxisType.Auto,) * 2
    devices = jax.devices()[: seeds * batch]
    return jax.make_mesh((seeds, batch), ("seeds", "batch"), automatic, devices=devices)

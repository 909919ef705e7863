"""Shows signatures and types as a user writes them."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

import optax_ltd as ltd

# What Chex and JAX call a number or an array, spelt out by Sphinx.
NUMBER = re.compile(
    r"~jax\.jaxlib\._jax\.Array \| ~numpy\.ndarray \| ~numpy\.bool \| ~numpy\.number"
    r" \| bool \| int \| float \| complex"
)


def _without(signature: inspect.Signature, *names: str) -> inspect.Signature:
    kept = [p for p in signature.parameters.values() if p.name not in names]
    return signature.replace(parameters=kept)


def _shorten(app: Sphinx, *_: Any) -> None:
    for types in app.env.current_document.autodoc_annotations.values():
        types.pop("return", None)  # "Returns" says it
        types.update({n: NUMBER.sub("float | ~jax.Array", t) for n, t in types.items()})


def setup(app: Sphinx) -> dict[str, bool]:
    # Flax's metaclass hides the one; the other ends in what Flax adds to every module.
    nnx_layer: Any = ltd.FlowRNN
    nnx_layer.__signature__ = _without(inspect.signature(nnx_layer.__init__), "self")
    linen_layer: Any = ltd.linen.FlowRNN
    signature = inspect.signature(linen_layer)
    linen_layer.__signature__ = _without(signature, "parent", "name")
    app.connect("object-description-transform", _shorten, priority=400)
    return {"parallel_read_safe": True}

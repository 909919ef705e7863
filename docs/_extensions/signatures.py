"""Shows signatures and types as a user writes them."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain

import optax_ltd as ltd

# What Chex and JAX call a number or an array, spelt out by Sphinx.
NUMBER = re.compile(
    r"~jax\.jaxlib\._jax\.Array \| ~numpy\.ndarray \| ~numpy\.bool \| ~numpy\.number"
    r" \| bool \| int \| float \| complex"
)
QUALIFIED = re.compile(r"(?<![\w.~])(?:\w+\.)+\w+")


def _without(signature: inspect.Signature, *names: str) -> inspect.Signature:
    kept = [p for p in signature.parameters.values() if p.name not in names]
    return signature.replace(parameters=kept)


def _shorten_attributes(*of_what: Any) -> None:
    lines: list[str] = of_what[-1]
    for i, line in enumerate(lines):
        if line.startswith(":vartype"):
            lines[i] = QUALIFIED.sub(r"~\g<0>", line)


def _shorten_arguments(app: Sphinx, *_: Any) -> None:
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
    described: Any = PythonDomain.directives["class"]
    for field in described.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # "Variables" elsewhere
    # One after Napoleon has written types, the other before Sphinx puts its own in.
    app.connect("autodoc-process-docstring", _shorten_attributes, priority=900)
    app.connect("object-description-transform", _shorten_arguments, priority=400)
    return {"parallel_read_safe": True}

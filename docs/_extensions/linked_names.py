"""Makes a link of each name in the text that is documented: here, or by a neighbour.

Code such as `ltd.skip_steps` or `jax.lax.scan` in a page or a docstring needs no markup
to become one; a name that nobody documents stays code. `neighbours.toml` has the
addresses of the names of other libraries that are in use here: no build asks for their
inventories over the network, and names that these list elsewhere are found too.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

import optax_ltd
import optax_ltd.experiments

HOMES = (
    optax_ltd,
    optax_ltd.experiments,
    optax_ltd.linen,
    optax_ltd.plots,
    optax_ltd.tasks,
)
ALIASES = {
    "jnp": "jax.numpy",
    "lax": "jax.lax",
    "ltd": "optax_ltd",
    "nn": "flax.linen",
    "nnx": "flax.nnx",
    "np": "numpy",
}
ROOTS = "|".join([*ALIASES, "flax", "jax", "numpy", "optax", "optax_ltd"])
NAME = re.compile(rf"(?:{ROOTS})(?:\.\w+)+")
# Where the types of neighbours say that they are defined.
DEFINED = {
    "flax.linen.recurrent.RNNCellBase": "flax.linen.RNNCellBase",
    "flax.nnx.rnglib.RngStream": "flax.nnx.RngStream",
    "flax.nnx.rnglib.Rngs": "flax.nnx.Rngs",
    "jax.jaxlib._jax.Array": "jax.Array",
    "optax._src.base.GradientTransformation": "optax.GradientTransformation",
    "optax._src.base.GradientTransformationExtraArgs": (
        "optax.GradientTransformationExtraArgs"
    ),
}


class LinkNames(SphinxTransform):
    """Turns literals that read as a qualified name into references."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            name = literal.astext()
            if literal.get("classes") or not NAME.fullmatch(name) or _is_in(literal):
                continue
            reference = addnodes.pending_xref(
                "",
                literal.deepcopy(),
                refdomain="py",
                reftype="obj",
                reftarget=_in_full(name),
                refdoc=self.env.docname,
                refexplicit=True,
            )
            literal.replace_self(reference)


def _is_in(node: nodes.Node) -> bool:
    """Whether it is part of a link or of a heading."""
    kinds = nodes.reference | addnodes.pending_xref | nodes.title
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _in_full(name: str) -> str:
    root, dot, rest = name.partition(".")
    return ALIASES.get(root, root) + dot + rest


def _public_names() -> dict[str, str]:
    """What a user calls a thing, by where it is defined and by its name alone.

    A module of the package finds its own names first, then these.
    """
    names = {name: f"{optax_ltd.__name__}.{name}" for name in optax_ltd.__all__}
    for home in HOMES:
        for name in getattr(home, "__all__", ()):
            defined = getattr(getattr(home, name), "__module__", None)
            names[f"{defined}.{name}"] = f"{home.__name__}.{name}"
    return names


def _addresses() -> dict[str, str]:
    pages = tomllib.loads(Path(__file__).with_name("neighbours.toml").read_text())
    return {
        name: page["url"].format(name=name, last=name.rpartition(".")[2])
        for page in pages["page"]
        for name in page["names"]
    }


def _resolve(
    app: Sphinx,
    env: BuildEnvironment,
    node: addnodes.pending_xref,
    text: nodes.TextElement,
) -> nodes.reference | None:
    if node["refdomain"] != "py":
        return None
    target: str = node["reftarget"]
    if public := app.config.public_names.get(target):
        domain, kind = env.domains["py"], node["reftype"]
        return domain.resolve_xref(
            env, node["refdoc"], app.builder, kind, public, node, text
        )
    name = _in_full(DEFINED.get(target, target))
    if address := app.config.neighbours.get(name):
        return nodes.reference("", "", text, internal=False, refuri=address)
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("neighbours", _addresses(), "env")
    app.add_config_value("public_names", _public_names(), "env")
    app.add_transform(LinkNames)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True}

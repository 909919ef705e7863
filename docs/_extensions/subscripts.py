"""Sets what plain text has as h_t, μG_S, mean_t or J_{t-1} with a subscript."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

# A Greek factor may stand before the letter; a Latin one would make it a name.
INDEXED = re.compile(r"(?<![a-zA-Z0-9_.])(mean|[^\W\d_])_(?:\{([^{}]+)\}|(\w)(?!\w))")
AS_WRITTEN = nodes.literal | nodes.literal_block | nodes.math | nodes.math_block


class Subscripts(SphinxTransform):
    """A letter or a mean, an underscore, an index: one sign, or several in braces."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            if INDEXED.search(text) and not isinstance(text.parent, AS_WRITTEN):
                text.parent.replace(text, list(_set(text)))


def _set(text: str) -> Iterator[nodes.Node]:
    end = 0
    for found in INDEXED.finditer(text):
        yield nodes.Text(text[end : found.start()] + found[1])
        index = found[2] or found[3]
        yield nodes.subscript("", index.replace("-", "−"))
        end = found.end()
    yield nodes.Text(text[end:])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(Subscripts)
    return {"parallel_read_safe": True}

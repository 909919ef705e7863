"""Leads links to files that are no page of the site to where the code is read."""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

README, HOME = "README", "docs/index"


class RepositoryLinks(SphinxTransform):
    """Turns what MyST takes for a document or a download into an address."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        elements = self.document.findall(nodes.Element)
        for link in [element for element in elements if _is_link(element)]:
            target = link["reftarget"]
            if link.get("refdomain") == "doc":  # a page by its name, from the root
                if target == README:
                    # That is the front door of the repository, not of the site.
                    link["reftarget"] = HOME
                if link["reftarget"] in self.env.found_docs:
                    continue
                path = self.env.srcdir / f"{target}.md"
            else:
                path = Path(self.env.doc2path(self.env.docname)).parent / target
            if path.exists():
                link.replace_self(self._address(path, link))

    def _address(self, path: Path, link: nodes.Element) -> nodes.reference:
        inside = path.resolve().relative_to(self.env.srcdir)
        kind = "tree" if path.is_dir() else "blob"
        address = f"{self.config.repository}/{kind}/main/{inside.as_posix()}"
        return nodes.reference("", "", *link.children, refuri=address, internal=False)


def _is_link(node: nodes.Element) -> bool:
    kinds = addnodes.pending_xref | addnodes.download_reference
    return isinstance(node, kinds) and node.get("reftype") == "myst"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository", "", "env")
    app.add_transform(RepositoryLinks)
    return {"parallel_read_safe": True}

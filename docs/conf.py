"""The site: `make docs` builds it into `site/html/`.

Its source is the root of the repository, so that every page has the path of its file
and a link between two of them is the same on the site as where the code is read.
"""

import sys
from pathlib import Path

import optax_ltd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))

project = "optax_ltd"
release = optax_ltd.__version__
copyright = "the authors of optax_ltd. Apache License 2.0"
repository = "https://github.com/optax-ltd/optax_ltd"

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/*.ipynb",
    "benchmarks/README.md",
    "benchmarks/reproduced/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = [".*", "docs/_*", "site"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "myst_nb",
    "linked_names",
    "repository_links",
    "signatures",
    "subscripts",
]

# A name of this library that leads nowhere is an error. Others are code where
# `linked_names` knows no address, and so is what stands in single backticks.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!optax_ltd\.).*"),
    ("py:class", r"optax_ltd\.(_|experiments\.).*"),  # types of no public name
]
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autosummary_generate = False
napoleon_use_ivar = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "site" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True  # what a cell prints is one text, however slowly it came

copybutton_exclude = ".linenos, .gp, .go"  # the prompts and outputs of a docstring

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]
html_theme_options = {
    "repository_url": repository,
    "repository_branch": "main",
    "use_repository_button": True,
    "use_source_button": True,
    "use_download_button": False,
    "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    "navbar_persistent": [],
    "footer_content_items": ["copyright"],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}

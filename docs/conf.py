"""How Sphinx makes a site of these pages: see `make docs`."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

project = html_title = "aggregate-framework"
author = "the authors of aggregate-framework"
version = release = version_of("aggregate-framework")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

default_role = "py:obj"
"""What stands in single backticks in a docstring: code, and a link where the name has a place on a page."""

add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Have names in annotations mean what they say."""
    app.connect("doctree-read", _look_up_exactly)


def _look_up_exactly(_: Sphinx, page: Any) -> None:
    # Sphinx asks whether this attribute is there, and not what it is. So a parameter that is a `type` would lead to
    # whatever attribute is called type, on any page.
    for reference in page.findall(pending_xref):
        if reference.get("refspecific") is False:
            del reference["refspecific"]

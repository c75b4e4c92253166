"""A page out of a template: style and script are put inside it, and its content security policy allows no others."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape


def source(name: str) -> str:
    """The text of a template, a style sheet or a script of this folder."""
    return files("reports.render.html").joinpath(name).read_text(encoding="utf-8")


def draw(template: str, **values: Any) -> str:
    """A template with the style sheet of all pages and these values; what it asks for and is not given is an error."""
    jinja = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(source)
    )
    jinja.filters["breakable"] = _breakable
    style = source("style.css")
    return jinja.get_template(template).render(style=style, style_hash=hash_of(style), **values)


def hash_of(text: str) -> str:
    """What a content security policy knows an inline style or script by: no other one runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _breakable(text: str) -> Markup:
    """Escaped, with places for a line break (after ``_``, ``,``, ``=`` and ``+``, before ``[``): names of datasets and
    detectors are long."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_,=+])(?=.)|(?=\[)", text))

"""HTML templates (Jinja) of the report and of the comparison; both extend base.html.j2."""

from __future__ import annotations

from typing import Any

import jinja2
from markupsafe import Markup

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("sparring", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(name: str, **values: Any) -> Markup:
    """The HTML of a template; text among the values is escaped, `Markup` is not."""
    return Markup(_ENVIRONMENT.get_template(name).render(**values))

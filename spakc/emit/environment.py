"""The template environment. Templates see only the context built here; no text of a user is ever a
template."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2


def environment(templates: Mapping[str, str]) -> jinja2.Environment:
    """Renders from a mapping of template paths to their texts. An undefined name is an error, and nothing is
    escaped: the output is CUDA or Python, not markup."""
    return jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

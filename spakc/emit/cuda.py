"""CUDA sources: one text for each kernel and schedule, rendered from its template."""

from __future__ import annotations

import re

import jinja2

from spakc.emit.context import launch_context
from spakc.emit.source_map import resolve_returns
from spakc.plan.launch import LaunchPlan, Signature

_EMPTY_SLOT = re.compile(r"\n(?:[ \t]+\n)+")
"""Lines that hold nothing but the indentation of an empty slot."""


def cuda_source(
    environment: jinja2.Environment, launch: LaunchPlan, signature: Signature, source: str
) -> str:
    """The text of `launch.source`. It depends on the mathematics and on the template, not on any config:
    knobs, dtypes and options are macros. `source` names the `.spak` file."""
    title = f"{launch.source}: family {launch.family}, template {launch.template}"
    context = launch_context(launch, signature, title, source)
    text = environment.get_template(launch.template).render(context)
    return resolve_returns(_EMPTY_SLOT.sub("\n", text), launch.source)

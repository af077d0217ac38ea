"""`spakc mcp FILE`: the Model Context Protocol over standard input and output."""

from __future__ import annotations

import os
from pathlib import Path

from spakc import driver
from spakc.diagnostics import Sink
from spakc.diff.ownership import known_role
from spakc.extras import needs_extra


def run(file: Path, root: Path | None, role: str | None) -> int:
    """Serves until the client goes. A file with a mistake can be served, except with a role: it must be known."""
    needs_extra("mcp", "mcp")
    sink = Sink()
    folder = Path(os.path.realpath(root if root is not None else file.parent))
    target = Path(os.path.realpath(file))
    if not target.is_relative_to(folder):
        sink.report("SPAK006", f"`{file}` is not in the folder `{folder}`", None)
    elif driver.read_source(target, target.name, sink) is not None and role is not None:
        program = driver.check_file(target).module.module
        place = next((each.span for each in program.roles.values()), None)
        known_role(role, program.roles, place, sink)
    sink.stop_if_errors()
    from spakc.agents.project import Project
    from spakc.agents.server import serve

    serve(Project(target, folder, role))
    return 0

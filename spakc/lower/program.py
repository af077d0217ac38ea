"""What lower starts from: the root file and everything it uses, parsed. The driver reads the files."""

from __future__ import annotations

from collections.abc import Mapping

from spakc.record import record
from spakc.syntax import nodes


@record
class Program:
    """`files` by logical path; `uses[path]` are the `use` statements of that file, each with the path it means.
    Acyclic (the driver reports SPAK004). Diamonds are fine: a file is lowered once."""

    root: str
    files: Mapping[str, nodes.File]
    uses: Mapping[str, tuple[tuple[nodes.Use, str], ...]]

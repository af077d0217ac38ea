"""Wheel build hook: puts the parser's tables beside the grammar, so that an installed `spakc` starts without
building them. A source checkout needs no hook: it keeps them in the user's cache."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ParserTables(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `spakc/_data/spak.machine` and `spak.tables` to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        self._folder = tempfile.TemporaryDirectory()
        grammar = (root / "grammar/spak.lark").read_text(encoding="utf-8")
        tables = runpy.run_path(str(root / "spakc/syntax/tables.py"))  # needs nothing but Lark
        machine = runpy.run_path(str(root / "spakc/syntax/machine.py"))
        table = machine["seal"](tables["machine_table"](grammar), machine["key_of"](grammar))
        for name, text in (("spak.machine", table), ("spak.tables", tables["build_tables"](grammar))):
            saved = Path(self._folder.name) / name
            saved.write_text(text, encoding="utf-8", newline="\n")
            build_data["force_include"][str(saved)] = f"spakc/_data/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        if version != "editable":
            self._folder.cleanup()

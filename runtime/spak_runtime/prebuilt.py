"""Cubins that came with an artifact: `cubin/index.json` says which compilation each one answers.

    {"schema": "spak-cubins/1", "compiler": "nvrtc 13.0", "cubins": {<digest>: {"file": …, "sha256": …, "log": …}}}

A kernel found here needs no device compiler. An entry that does not hold (missing file, wrong checksum,
another source, a report that breaks a rule of machine code) is passed over, and the kernel is compiled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spak_runtime.cache import digest
from spak_runtime.compilers import compiler_of
from spak_runtime.machine_rules import broken_rules
from spak_runtime.nvrtc import BuildRequest, Compiled

SCHEMA = "spak-cubins/1"
INDEX = "cubin/index.json"


class Prebuilt:
    """The cubins of one artifact. `compiler` is the one that built them, None for the one of this machine."""

    def __init__(self, root: Path, compiler: str | None, cubins: Mapping[str, Mapping[str, Any]]) -> None:
        self._root = root
        self._compiler = compiler
        self._cubins = cubins

    @staticmethod
    def read(root: Path) -> Prebuilt:
        """The cubins of an artifact; none where there is no index, or not one of this schema."""
        try:
            index = json.loads((root / INDEX).read_text())
            if index["schema"] == SCHEMA:
                compiler = index.get("compiler")
                return Prebuilt(root, compiler and str(compiler), dict(index["cubins"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        return Prebuilt(root, None, {})

    def find(self, request: BuildRequest) -> bytes | None:
        """The cubin that this compilation would give, if it is here, whole and unchanged."""
        if not self._cubins:
            return None
        compiler = self._compiler or compiler_of(request)
        entry = self._cubins.get(digest(request, compiler))
        try:
            if entry is None:
                return None
            path = (self._root / str(entry["file"])).resolve()
            if not path.is_relative_to(self._root):
                return None
            cubin = path.read_bytes()
            sound = hashlib.sha256(cubin).hexdigest() == entry["sha256"]
            broken = broken_rules(Compiled.from_log(cubin, str(entry["log"])))
            return cubin if sound and not any(broken) else None
        except (OSError, KeyError, TypeError):
            return None

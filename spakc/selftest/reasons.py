"""Mutants that change the machine code and no result: each with the reason, in a file beside the templates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from spakc.record import record

Key = tuple[str, str, str, int]


@record
class Reasons:
    """`why` by what identifies a mutant wherever its line stands: the file, the line, what it becomes, and
    which of equal lines it is."""

    why: Mapping[Key, str]


def read_reasons(path: Path) -> Reasons:
    """The table of a file; none where there is no file. An entry is `[[mutant]]` with `file`, `line`,
    `becomes`, `reason` and, of equal lines, `nth`.

    Raises ValueError for an entry that lacks one of them, has no reason, or stands there twice."""
    if not path.exists():
        return Reasons({})
    found: dict[Key, str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", ()):
        try:
            key = (entry["file"], entry["line"], entry["becomes"], int(entry.get("nth", 1)))
            reason = entry["reason"].strip()
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path.name}: an entry without {error}: {entry}") from None
        if not reason or key in found:
            raise ValueError(f"{path.name}: {'twice' if key in found else 'no reason'}: {entry}")
        found[key] = reason
    return Reasons(found)

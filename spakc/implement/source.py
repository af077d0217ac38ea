"""The sources of hand-written kernels: found inside the project, joined with what they include. An edge.

What lies in the folder of the `.spak` file that names a source, or below it, links followed, may be named; nothing else
may, neither by `source` nor by an `#include`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from spakc.check.checked import HandWritten
from spakc.diagnostics import Sink
from spakc.ir.module import Implementation
from spakc.resources import resource
from spakc.source import Span, is_relative

MOST_BYTES = 1 << 20
"""Of one source with all that it includes."""

MOST_FILES = 64

_INCLUDE = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*include\b[ \t]*(.*)$")
_SPLICED = re.compile(r"(?:\\|\?\?/)[^\S\n]*\n")
_ASKS = re.compile(
    r"(?:#|%:|\?\?=)(?:[^\S\n]|/\*.*?\*/)*(?:include|include_next|import|embed)\b", re.DOTALL
)  # wherever it stands
_LOOKS = re.compile(r"\b__has_(?:include(?:_next)?|embed)\b|\.incbin\b")
_REMARK = re.compile(r"^[^\S\n]*//(?!.*\*/).*$", re.MULTILINE)
"""A line that is a comment as a whole, whatever stands around it."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ONCE = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+once[ \t]*$")


def hand_written(
    implementations: tuple[Implementation, ...],
    root: Path,
    sink: Sink,
    overlay: Mapping[Path, str] | None = None,
) -> tuple[HandWritten, ...]:
    """Hand-written kernels with their texts. `root` is the file that was checked, `overlay` texts that stand for those
    of files.

    Reports files that are not there (SPAK001), cannot be read (SPAK002), are too large (SPAK003) or lie outside of the
    project (SPAK006), and sources without the entry (SPAK324)."""
    found = []
    proposed = {Path(os.path.realpath(path)): text for path, text in (overlay or {}).items()}
    for implementation in implementations:
        reader = _Reader(root.parent, implementation, sink, proposed)
        try:
            text = reader.read()
        except _Refused:
            continue
        files = tuple(map(str, reader.seen))
        found.append(HandWritten(implementation, text, _on_primitives(text, implementation), files))
    return tuple(found)


def _on_primitives(text: str, implementation: Implementation) -> bool:
    entry = re.escape(_said(implementation, "entry"))
    return re.search(rf"\bSPAK_KERNEL\s*\(\s*{entry}\b", _COMMENT.sub(" ", text)) is not None


def _said(implementation: Implementation, key: str) -> str:
    return str(getattr(implementation.settings[key], "value", ""))


class _Refused(Exception):
    """What is wrong with a source was reported."""


class _Reader:
    """Reads one source. Everything it says stands at the `source` of the `implement`."""

    def __init__(
        self, project: Path, implementation: Implementation, sink: Sink, proposed: Mapping[Path, str]
    ) -> None:
        self.proposed = proposed
        asking = posixpath.dirname(implementation.span.source.name)
        self.project = Path(os.path.realpath(project / asking))
        self.sink = sink
        self.implementation = implementation
        self.name = _said(implementation, "source")
        self.span: Span = implementation.settings["source"].span or implementation.span
        self.headers = resource("templates") / "cuda" / "include"
        self.seen: dict[Path, None] = {}
        self.bytes = 0

    def read(self) -> str:
        """Raises _Refused."""
        if not self.name.endswith(".cu"):
            self._refuse("SPAK006", f'"{self.name[:100]}" is not a relative path of a `.cu` file')
        path = self._inside(self.name, self.project, self.name)
        text = self._joined(path, self.name)
        self._nothing_else(text)
        entry = _said(self.implementation, "entry")
        if not re.search(rf"\b{re.escape(entry)}\s*[(,]", _COMMENT.sub(" ", text)):
            self._refuse("SPAK324", f"`{self.name}` has no function `{entry}`")
        return text

    def _nothing_else(self, text: str) -> None:
        """What was read is all that the compiler will read. It joins lines and takes comments out before it looks for
        an `#include`; what is one only then, or stands behind something, was not read."""
        spliced = _REMARK.sub("", _SPLICED.sub("", text))
        if looks := _LOOKS.search(spliced):
            self._refuse("SPAK006", f"`{self.name}` looks at files of its own: `{looks[0]}`")
        plain = sum(_INCLUDE.match(line) is not None for line in text.split("\n"))
        found = [" ".join(each[0].split())[:60] for each in _ASKS.finditer(spliced)]
        if len(found) != plain:
            odd = next((each for each in found if each not in ("#include", "# include")), "#include")
            self._refuse(
                "SPAK006",
                f"`{self.name}` includes what only the compiler could work out: `{odd}` on no line of its own",
            )

    def _joined(self, path: Path, shown: str) -> str:
        """The text of a file with those of the project that it includes in their places, each once."""
        text = self._text(path, shown)
        lines = [f'#line 1 "{shown}"']
        for number, line in enumerate(text.splitlines(), 1):
            if _ONCE.match(line):
                lines.append("")
                continue
            included = self._included(line, path, shown)
            if included is None:
                lines.append(line)
                continue
            lines += [*included.splitlines(), f'#line {number + 1} "{shown}"']
        return "\n".join(lines) + "\n"

    def _included(self, line: str, path: Path, shown: str) -> str | None:
        """What stands in place of a line; None for one that stays."""
        found = _INCLUDE.match(line)
        if found is None:
            return None
        rest = _COMMENT.sub("", found[1]).strip()
        name = rest[1:-1]
        if len(rest) < 3 or (rest[0], rest[-1]) not in (('"', '"'), ("<", ">")):
            self._refuse(
                "SPAK006", f"`{shown}` includes what only the compiler could work out: `{rest[:60]}`"
            )
        if rest[0] == "<" or (self.headers / name).is_file():
            if posixpath.isabs(name) or ".." in name.split("/") or "\\" in name:
                self._refuse("SPAK006", f'`{shown}` includes "{name[:100]}", which leaves the project')
            return None
        other = self._inside(name, path.parent, shown)
        if other in self.seen:
            return ""
        return self._joined(other, posixpath.normpath(posixpath.join(posixpath.dirname(shown), name)))

    def _inside(self, name: str, folder: Path, asked_by: str) -> Path:
        """The real path of a file of the project."""
        if not is_relative(name):
            self._refuse("SPAK006", f'"{name[:100]}" is no relative path, asked for by `{asked_by[:100]}`')
        path = Path(os.path.realpath(folder / name))
        if not path.is_relative_to(self.project):
            self._refuse("SPAK006", f'"{name[:100]}" leads out of the project')
        return path

    def _text(self, path: Path, shown: str) -> str:
        self.seen[path] = None
        try:
            if path in self.proposed:
                text = self.proposed[path]
                self._count(len(text.encode()))
                return text
            if not path.exists():
                self._refuse("SPAK001", f"there is no file `{shown[:100]}`")
            if not path.is_file():
                self._refuse("SPAK002", f"`{shown[:100]}` is not a file")
            self._count(path.stat().st_size)
            return path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._refuse("SPAK002", f"`{shown[:100]}` is not UTF-8 (byte {error.start})")
        except UnicodeEncodeError as error:  # an editor may hold half of a pair
            self._refuse("SPAK002", f"`{shown[:100]}` is not UTF-8 (character {error.start})")
        except OSError as error:
            self._refuse("SPAK002", f"`{shown[:100]}` cannot be read: {error.strerror}")

    def _count(self, more: int) -> None:
        self.bytes += more
        if self.bytes > MOST_BYTES or len(self.seen) > MOST_FILES:
            self._refuse(
                "SPAK003",
                f"`{self.name}` and its includes are more than {MOST_BYTES} bytes or {MOST_FILES} files",
            )

    def _refuse(self, code: str, message: str) -> NoReturn:
        self.sink.report(code, message, self.span, "asked for here")
        raise _Refused

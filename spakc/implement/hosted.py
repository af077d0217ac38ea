"""A hand-written source as the emulator's compiler gets it: a kernel has no use for instructions of the host. Pure."""

from __future__ import annotations

import re

_ASSEMBLY = ("asm", "__asm", "__asm__")
_UNDEFINED = re.compile(rf"^[ \t]*(?:#|%:|\?\?=)[ \t]*undef[ \t]+(?:{'|'.join(_ASSEMBLY)})\b", re.MULTILINE)
_SPLICE = re.compile(r"(?:\\|\?\?/)[ \t]*\r?\n")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def for_host(text: str) -> str:
    """The text behind definitions that turn assembly into a name that nobody declares. The headers of the primitives
    stand before them; PTX has no meaning here either way."""
    if _UNDEFINED.search(_COMMENT.sub(" ", _SPLICE.sub("", text))):
        return '#error "instructions of the host in a kernel"\n'
    words = "".join(f"#define {word} instructions_of_the_host\n" for word in _ASSEMBLY)
    return f'#include "spak/primitives.cuh"\n{words}{text}'

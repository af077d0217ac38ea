"""A cubin's machine code (SASS) as text, and counts of its instructions. Uses nvdisasm; needs no GPU."""

from __future__ import annotations

import functools
import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spak_runtime.errors import ToolError

TIMEOUT_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Disassembly:
    """`text` as nvdisasm prints it; `instructions` are the mnemonics with their modifiers, in program
    order, `operands` what stands behind each."""

    text: str
    instructions: tuple[str, ...]
    operands: tuple[str, ...] = ()

    def count(self, mnemonic: str) -> int:
        """How many instructions are `mnemonic`, whole words between the dots: "HMMA" counts
        HMMA.16816.F32.BF16, "MEMBAR.ALL.GPU" counts only those, "LD" does not count LDG."""
        return sum(1 for name in self.instructions if name == mnemonic or name.startswith(mnemonic + "."))

    def histogram(self) -> dict[str, int]:
        """Instructions by first word, most frequent first."""
        return dict(Counter(name.split(".", 1)[0] for name in self.instructions).most_common())


def disassemble(cubin: bytes) -> Disassembly:
    """Raises ToolError where nvdisasm is missing or refuses the cubin."""
    return parse_listing(_listing(cubin, "--print-code"))


def disassemble_together(cubins: Sequence[bytes], arch: str) -> tuple[Disassembly, ...]:
    """Each of several cubins for one architecture (sm_90a …), in one run: nvdisasm takes half a second to start,
    whatever it reads. Names of functions and labels are not in these listings. Raises ToolError as `disassemble`."""
    codes = [b"".join(_code_sections(cubin)) for cubin in cubins]
    text = _listing(b"".join(codes), "--binary", arch.replace("sm_", "SM"))
    lines = [line for line in text.splitlines(keepends=True) if _INSTRUCTION.match(line)]
    if len(lines) * _INSTRUCTION_BYTES != sum(map(len, codes)):
        raise ToolError("nvdisasm lists other code than it was given")
    found, first = [], 0
    for code in codes:
        last = first + len(code) // _INSTRUCTION_BYTES
        found.append(parse_listing("".join(lines[first:last])))
        first = last
    return tuple(found)


_INSTRUCTION_BYTES = 16


def _listing(image: bytes, *options: str) -> str:
    with tempfile.TemporaryDirectory(prefix="spak-sass-") as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(image)
        try:
            done = subprocess.run(
                [_nvdisasm(), *options, str(path)],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"nvdisasm did not finish in {TIMEOUT_SECONDS} s") from None
    if done.returncode != 0:
        raise ToolError(f"nvdisasm refuses the cubin: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _code_sections(cubin: bytes) -> Iterator[bytes]:
    """The machine code of each function of a cubin, which is a 64-bit ELF file."""
    try:
        (table,) = struct.unpack_from("<Q", cubin, 0x28)
        size, count, of_names = struct.unpack_from("<3H", cubin, 0x3A)
        sections = [struct.unpack_from("<IIQQQQ", cubin, table + i * size) for i in range(count)]
        names = sections[of_names][4]
        for name, _, _, _, begin, length in sections:
            if cubin.startswith(b".text.", names + name):
                yield cubin[begin : begin + length]
    except (struct.error, IndexError):
        raise ToolError("this is no cubin") from None


def parse_listing(text: str) -> Disassembly:
    """What nvdisasm printed. A predicate (`@!P0`) or a brace of dual issue before a mnemonic is no part of
    it."""
    found = [(match[1], match[2].strip()) for match in _INSTRUCTION.finditer(text)]
    return Disassembly(text, tuple(name for name, _ in found), tuple(operands for _, operands in found))


_INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+\{?\s*(?:@!?U?P\w+\s+)?([A-Z][A-Zx0-9_.]*)([^;\n]*)", re.MULTILINE
)


@functools.cache
def _nvdisasm() -> str:
    from cuda.pathfinder import find_nvidia_binary_utility

    path = find_nvidia_binary_utility("nvdisasm")
    if path is None:
        raise ToolError("nvdisasm is not installed; it comes with the package nvidia-cuda-nvdisasm")
    return str(path)

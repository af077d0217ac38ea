"""A file of thousands of mistakes costs what its length costs: work is counted, in steps of the interpreter."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from spakc.diagnostics import Diagnostic, Label, Sink, SpakError
from spakc.diagnostics.sink import MOST_SUGGESTED
from spakc.driver import check_file
from spakc.lower.resolve import nearest
from spakc.source import SourceFile, Span


def _lets(n: int) -> str:
    return "".join(f"let name_{i} = 1\n" for i in range(n))


FILES: dict[str, Callable[[int], str]] = {
    "unknown names": lambda n: _lets(n) + "".join(f"law l{i}: unknown_{i} == 1\n" for i in range(n)),
    "unknown functions": lambda n: _lets(n) + "".join(f"law l{i}: unknown_{i}(3) == 1\n" for i in range(n)),
    "unknown facts": lambda n: "".join(f"law l{i}: device.unknown_{i} == 1\n" for i in range(n)),
    "unknown parents": lambda n: "".join(f"experiment e{i} like unknown_{i} {{ }}\n" for i in range(n)),
    "declared twice": lambda n: _lets(n) + _lets(n),
    "refuted laws": lambda n: "".join(f"law l{i}: {i} == 1000000\n" for i in range(n)),
    "laws without a witness": lambda n: "".join(f"law l{i}: cubin.registers == {i}\n" for i in range(n)),
    "units that do not fit": lambda n: "".join(f"law l{i}: {i} KiB == 3 ms\n" for i in range(n)),
}


def mistakes(text: str, folder: Path) -> tuple[Diagnostic, ...]:
    path = folder / "own.spak"
    path.write_text("spak 1\n" + text)
    with pytest.raises(SpakError) as found:
        check_file(path)
    return found.value.diagnostics


def steps(action: Callable[[], object]) -> int:
    """How many steps of the interpreter an action takes."""
    count = 0

    def traced(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", FILES)
def test_twice_the_mistakes_are_twice_the_work(kind: str, tmp_path: Path) -> None:
    half, whole = 150, 300
    mistakes(FILES[kind](120), tmp_path)  # modules and tables are loaded
    work = {n: steps(lambda n=n: mistakes(FILES[kind](n), tmp_path)) for n in (half, whole)}  # type: ignore[misc]
    assert work[whole] < 2.4 * work[half], work


@pytest.mark.parametrize("kind", ["unknown names", "unknown functions", "unknown facts"])
def test_names_are_compared_for_the_first_mistakes_only(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    close_matches = difflib.get_close_matches

    def counted(word: str, possibilities: list[str], **more: Any) -> list[str]:
        compared.append(len(possibilities))
        return close_matches(word, possibilities, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    found = mistakes(FILES[kind](2 * MOST_SUGGESTED), tmp_path)
    assert len(found) == 2 * MOST_SUGGESTED, "every mistake is told"
    assert len(compared) == MOST_SUGGESTED


def test_a_slip_among_few_is_told_with_what_was_meant(tmp_path: Path) -> None:
    found = mistakes("let width = 3\nlaw l: widht == 3\n", tmp_path)
    assert found[0].help == ("did you mean `width`?",)
    full = Sink()
    full.diagnostics += [Diagnostic("SPAK120", f"{i}") for i in range(MOST_SUGGESTED)]
    assert nearest("widht", ["width"]) == "width" and nearest("widht", ["width"], full) is None


def test_what_others_take_out_of_a_sink_is_gone() -> None:
    source = SourceFile("own.spak", "abc")
    here, there = Span(source, 0, 1), Span(source, 1, 2)
    sink = Sink()
    sink.report("SPAK120", "one", here)
    sink.report("SPAK120", "one", here)
    assert len(sink.diagnostics) == 1 and sink.has("SPAK120", here) and not sink.has("SPAK120", there)
    sink.diagnostics[:] = [Diagnostic("SPAK120", "other", (Label(there),))]
    assert sink.has("SPAK120", there) and not sink.has("SPAK120", here)
    sink.diagnostics.clear()
    assert not sink.has("SPAK120", there)

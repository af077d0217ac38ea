"""Inputs of every kind through check, fmt and the language server: `python -m tests.fuzz.campaign --inputs 1000000`.

Bytes, tokens, derivations of the grammar and changed examples, each a function of its number, so that a failure is
named by one. Whatever comes, there is a diagnostic or an answer: no exception, no hang. A failure is kept as a file
beside the log, and the campaign goes on; its exit code says whether there was any.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from spakc.commands.fmt import formatted
from spakc.diagnostics import Sink
from spakc.diagnostics.render import render_json
from spakc.lsp.complete import complete
from spakc.lsp.edits import applied, fixes
from spakc.lsp.hover import hover
from spakc.lsp.project import look
from spakc.resources import resource
from spakc.source import SourceFile
from tests.property.grammar_fuzz import derivation, mutant
from tests.property.test_fuzz_front import mutant as kin

LIMIT = 30
"""Seconds of the processor that one input may take: a busy machine is no hang."""

PLACE = Path(str(resource("examples"))) / "kernels" / "fuzz.spak"
"""Where the text would stand: from there an example finds what it uses. Nothing is written."""


def of_bytes(seed: int) -> str:
    """Random bytes, as far as they are text; half of them behind a first line that is right."""
    random = Random(seed)
    data = random.randbytes(random.choice((1, 10, 100, 1000)))
    head = "spak 1\n" if random.random() < 0.5 else ""
    return head + data.decode("utf-8", errors=random.choice(("ignore", "replace")))


def of_tokens(seed: int) -> str:
    """Words and signs of the language in any order."""
    random = Random(seed)
    words = _tokens()
    return "spak 1\n" + " ".join(random.choice(words) for _ in range(random.choice((3, 10, 40, 200))))


def of_kin(seed: int) -> str:
    """An example with a few words exchanged for others of their kind: it parses, and means something else."""
    random = Random(seed)
    path = random.choice(sorted(Path(str(resource("examples"))).rglob("*.spak")))
    return kin(path.read_text("utf-8"), random)


def _tokens() -> list[str]:
    from spakc.syntax.parse import lark_parser
    from spakc.syntax.surface import Surface

    surface = Surface(lark_parser())
    return (
        sorted(surface.words)
        + sorted(surface.signs) * 2
        + ["a", "b", "M", "1", "2.5", "64 KiB", "50%", '"t"'] * 4
    )


MAKERS: dict[str, Callable[[int], str]] = {
    "bytes": of_bytes, "tokens": of_tokens, "derivation": derivation, "mutant": mutant, "kin": of_kin,
}  # fmt: skip
SHARES = ("bytes", "tokens", "derivation", "derivation", "derivation", "mutant", "kin")


@dataclass(frozen=True, slots=True)
class Failed:
    number: int
    kind: str
    text: str
    why: str


def examine(number: int) -> tuple[str, str]:
    """The kind of an input and what came of it: the first code, or `right`. Raises what nothing should raise."""
    kind = SHARES[number % len(SHARES)]
    text = MAKERS[kind](number)
    state = look(PLACE, {PLACE: text})
    for diagnostic in state.diagnostics:
        assert json.loads(render_json(diagnostic))["code"] == diagnostic.code
        for fix in fixes(diagnostic):
            if fix.edit.span.source.text == text:
                applied(text, [fix.edit])
    assert state.checked is not None or any(d.severity == "error" for d in state.diagnostics)
    random = Random(number)
    for _ in range(3):
        offset = random.randrange(len(text) + 1)
        complete(state, PLACE.name, offset)
        hover(state, PLACE.name, offset)
    sink = Sink()
    shaped = formatted(SourceFile("fuzz.spak", text), sink)
    assert (shaped is None) == sink.has_errors
    if shaped is not None:
        assert formatted(SourceFile("fuzz.spak", shaped), sink) == shaped, "formatted twice, it changes"
    return kind, "right" if state.checked is not None else state.diagnostics[0].code


def some(numbers: range) -> tuple[Counter[tuple[str, str]], list[Failed]]:
    """Inputs in a process of their own."""
    found: Counter[tuple[str, str]] = Counter()
    failed: list[Failed] = []
    signal.signal(signal.SIGPROF, _too_long)
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            found[examine(number)] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kind = SHARES[number % len(SHARES)]
            failed.append(Failed(number, kind, MAKERS[kind](number), traceback.format_exc()))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return found, failed


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT} s")


def past_the_parser(found: Counter[tuple[str, str]]) -> float:
    """The share of inputs that parsed: they are right, wrong in what they use (SPAK001 and on) or mean."""
    stopped = {"SPAK002", "SPAK003", *(f"SPAK{n}" for n in range(100, 120))}
    there = sum(n for (_, code), n in found.items() if code not in stopped)
    return there / max(1, sum(found.values()))


def _chunks(first: int, inputs: int, size: int) -> Iterator[range]:
    for start in range(first, first + inputs, size):
        yield range(start, min(start + size, first + inputs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="Number of the first input.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/fuzz"))
    asked = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    failures = 0
    began = time.monotonic()
    asked.output.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(asked.jobs) as pool:
        for counted, failed in pool.map(some, _chunks(asked.first, asked.inputs, 100)):
            found += counted
            failures += len(failed)
            for each in failed:
                (asked.output / f"{each.number}-{each.kind}.spak").write_text(
                    each.text, "utf-8", "surrogatepass"
                )
                (asked.output / f"{each.number}-{each.kind}.txt").write_text(each.why)
            done = sum(found.values()) + failures
            rate = done / (time.monotonic() - began)
            print(
                f"{done:,} inputs, {past_the_parser(found):.0%} past the parser, {failures} failed, {rate:.0f}/s",
                flush=True,
            )
    summary = {
        "inputs": sum(found.values()) + failures,
        "past_the_parser": past_the_parser(found),
        "failed": failures,
    }
    summary["outcomes"] = {f"{kind} {code}": n for (kind, code), n in sorted(found.items())}  # type: ignore[assignment]
    (asked.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if failures or past_the_parser(found) < 0.3 else 0


if __name__ == "__main__":
    sys.exit(main())

"""What earns the codes that no `.spak` text earns by itself: commands, files, calls of the runtime, evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from spakc.cli import cli
from spakc.diagnostics import SpakError
from spakc.syntax.parse import MAX_BYTES
from tests.unit.evidence.fixtures import EVIDENCE
from tests.unit.verify.code_fixtures import VERIFICATION

Fixture = Callable[[Path], list[str]]

KERNEL = """spak 1
kernel double: elementwise {
  dim N
  input x: f32 [N]
  output y: f32 [N]
  math { y[i] = 2 * x[i] }
}
"""
EXPERIMENT = """spak 1
model m {
  hyper width = 8
  part same(x: [B, T, width]) -> y: [B, T, width] { y = norm(x) }
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] { logits = unembed(same(embed(tokens)), tied = true) }
}
dataset d { text characters(corpus("no_such_corpus"))  split train fraction 90%  split rest fraction 10% }
experiment e {
  model m
  data d
  train(steps = 1, batch = 2, context = 8, seeds = {0})
  optimizer adamw()
  lr constant(1e-3)
}
"""


def codes_of_command(*arguments: str | Path) -> list[str]:
    """The codes that a command prints as JSON on stderr; it must end with 1."""
    result = CliRunner().invoke(cli, [*map(str, arguments), "--format", "json"])
    assert result.exit_code == 1, result.output
    return [json.loads(line)["code"] for line in result.stderr.splitlines()]


def _written(folder: Path, text: str | bytes) -> Path:
    path = folder / "wrong.spak"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _too_large(folder: Path) -> list[str]:
    return codes_of_command("check", _written(folder, "spak 1\n" + "# rubbish\n" * (MAX_BYTES // 10)))


def _occupied(folder: Path) -> list[str]:
    out = folder / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    return codes_of_command("compile", _written(folder, KERNEL), "-o", out)


def _arch(folder: Path) -> list[str]:
    return codes_of_command(
        "compile", _written(folder, KERNEL), "-o", folder / "out", "--arch", "sm_91", "--emit", "plan"
    )


def _run(*arguments: str) -> Fixture:
    return lambda folder: codes_of_command(
        "run", _written(folder, EXPERIMENT), *arguments, "-o", folder / "out"
    )


def _untrained(folder: Path) -> list[str]:
    return codes_of_command("sample", _written(folder, EXPERIMENT), "--prompt", "a", "-o", folder / "out")


def _two_runs(folder: Path) -> list[str]:
    from spak_runtime.training.alone import alone_in

    (folder / "out").mkdir()
    with alone_in(folder / "out"):
        return _run()(folder)


def _diff(edit: tuple[str, str], role: str) -> Fixture:
    """What `spakc diff` says of one edit of a file with two roles and a law over a `let`."""

    def codes(folder: Path) -> list[str]:
        text = (
            'spak 1\nlet a = 1\nlaw small: a < 9\nintent "so"\n'
            "roles { architect owns law  implementer owns let }\n"
        )
        (folder / "new").mkdir()
        old, new = _written(folder, text), _written(folder / "new", text.replace(*edit))
        return codes_of_command("diff", old, new, "--role", role)

    return codes


def _runtime() -> dict[str, Fixture]:
    from tests.unit.runtime import code_fixtures

    return {
        code: lambda folder, code=code: code_fixtures.codes_of(code, folder) for code in code_fixtures.EARNS
    }


def _not_accounted_for(_: Path) -> list[str]:
    from spak_runtime.training.kernels import StrictError, Table, refuse

    unseen = Table(step=2, rows=(), waits=0, fallbacks=())  # a profiler without a device sees no kernel
    try:
        refuse(unseen.to_json())
    except StrictError as error:
        return [error.code]
    return []


def _spills(_: Path) -> list[str]:
    from tests.nvrtc.test_machine_rules import SPILLS, codes_of_build

    return codes_of_build(SPILLS)


def _strange_file(folder: Path) -> list[str]:
    from spakc.agents.project import Project

    (folder / "notes.txt").write_text("mine")
    try:
        Project(_written(folder, KERNEL), folder, "implementer").write("notes.txt", KERNEL)
    except SpakError as error:
        return [diagnostic.code for diagnostic in error.diagnostics]
    return []


def _without_extra(_: Path) -> list[str]:
    from spakc.extras import needs_extra

    try:
        needs_extra("lsp", "no_such_package")
    except SpakError as error:
        return [diagnostic.code for diagnostic in error.diagnostics]
    return []


ELSEWHERE: dict[str, Fixture] = {
    "SPAK002": lambda folder: codes_of_command("check", folder),
    "SPAK003": _too_large,
    "SPAK007": _occupied,
    "SPAK008": lambda folder: codes_of_command("fmt", "--check", _written(folder, "spak 1\n\n\nlaw a: 1<2")),
    "SPAK559": _run(),
    "SPAK560": _run("another"),
    "SPAK561": _not_accounted_for,
    "SPAK562": _untrained,
    "SPAK563": lambda folder: codes_of_command("run", _written(folder, EXPERIMENT), "--gpus", "64"),
    "SPAK564": _two_runs,
    "SPAK601": _diff(("a < 9", "a < 10"), "implementer"),
    "SPAK602": _diff(("", ""), "implementor"),
    "SPAK603": _diff(("a = 1", "a = 2"), "implementer"),
    "SPAK604": _diff(("so", "not so"), "architect"),
    "SPAK605": _strange_file,
    "SPAK703": _arch,
    "SPAK709": _without_extra,
    **_runtime(),
    "SPAK705": _spills,
    **EVIDENCE,
    **VERIFICATION,
}

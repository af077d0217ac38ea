"""Wrong and hostile files: each earns one diagnostic and exit 1; nothing is executed or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from spakc.cli import cli

KERNEL = """spak 1
kernel k: elementwise {{
  dim N{dim}
  input x: f32 [N]
  output y: f32 [N]
  {more}
  math {{ {math} }}
}}
"""


def kernel(math: str = "y[i] = x[i]", more: str = "", dim: str = "") -> str:
    return KERNEL.format(math=math, more=more, dim=dim)


HOSTILE: dict[str, bytes | str] = {
    "empty": "",
    "only a comment": "# nothing\n",
    "no version": "kernel k: product { }",
    "future version": "spak 99\n",
    "binary": bytes(range(256)),
    "not utf-8": b'spak 1\nintent "\xff\xfe"\n',
    "nul": 'spak 1\nintent "a\x00b"\n',
    "megabyte line": 'spak 1\nintent "' + "x" * 2_000_000 + '"\n',
    "deep brackets": "spak 1\nlet a = " + "(" * 5000 + "1" + ")" * 5000,
    "deep negation": "spak 1\nlet a = " + "- " * 5000 + "1",
    "deep nots": "spak 1\nlaw a: " + "not " * 5000 + "true",
    "deep indexing": "spak 1\nlet a = a" + "[1" * 3000 + "]" * 3000,
    "deep blocks": "spak 1\nmodel m { forward(x: int [B]) -> y: [B] { "
    + "repeat 2 { " * 3000
    + "}" * 3000
    + "} }",
    "huge integer": "spak 1\nlet a = " + "9" * 5000,
    "huge float": "spak 1\nlet a = 1e999999",
    "huge power": kernel("y[i] = x[i]", "let a = pow(10, 1000000000)\n law l: a > 1"),
    "huge range": kernel(more="schedule s { knob vector in 1..999999999999 }"),
    "huge dim range": kernel(dim=" in 1..999999999999"),
    "range of step zero": kernel(more="schedule s { knob vector in 1..8 step 0 }"),
    "division by zero": kernel(more="law l: 1 // 0 == 1"),
    "modulo zero": kernel(more="law l: 5 % 0 == 1"),
    "empty range": kernel(more="schedule s { knob vector in 8..1 }"),
    "template syntax in a name": "spak 1\nkernel {{ 7 * 7 }}: elementwise { }",
    "template syntax in a string": 'spak 1\nuse "{{ config }}.spak"\n',
    "path traversal": 'spak 1\nuse "../../../../../../etc/passwd"\n',
    "absolute path": 'spak 1\nuse "/etc/passwd.spak"\n',
    "url": 'spak 1\nuse "https://example.org/x.spak"\n',
    "uses itself": 'spak 1\nuse "hostile.spak"\n',
    "missing file": 'spak 1\nuse "not_there.spak"\n',
    "missing module": "spak 1\nuse std.nothing\n",
    "module traversal": "spak 1\nuse std.__init__\n",
    "unclosed block": "spak 1\nkernel k: product {",
    "unclosed string": 'spak 1\nintent "abc\n',
    "stray brace": "spak 1\n}",
    "self let": "spak 1\nlet a = a + 1",
    "mutual lets": "spak 1\nlet a = b\nlet b = a",
    "own like": "spak 1\ndevice d like d { arch = sm_80 }",
    "mutual like": kernel(more="schedule a like b { } schedule b like a { }"),
    "unknown family": "spak 1\nkernel k: sorcery { }",
    "assigns an input": kernel("x[i] = 1\n y[i] = x[i]"),
    "assigned twice": kernel("y[i] = x[i]\n y[i] = 2 * x[i]"),
    "output never assigned": kernel("z[i] = x[i]"),
    "unbound index": kernel("y[i] = x[j]"),
    "wrong rank": kernel("y[i] = x[i, i]"),
    "unknown function": kernel("y[i] = __import__(x[i])"),
    "unknown tensor": kernel("y[i] = w[i]"),
    "python in an attribute": "spak 1\nlaw l: device.__class__.__mro__ == 1",
    "unit mistake": kernel(more="law l: 1 KiB == 2 ms"),
    "unknown target": "spak 1\ntargets moon\n",
    "claim about nothing": "spak 1\nclaim c: accuracy(nothing, at_all) > 1",
    "python keyword as a name": kernel("y[i] = x[i]").replace("dim N", "dim N, lambda_ in {}"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_one_diagnostic_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HOSTILE[name]
    path = tmp_path / "hostile.spak"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["compile", "hostile.spak", "-o", "out", "--format", "json"])
    assert result.exit_code == 1, result.output
    errors = [json.loads(line) for line in result.stderr.splitlines()]
    assert [e["severity"] for e in errors].count("error") == 1, [e["message"] for e in errors]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hostile.spak"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(tmp_path)])
    assert result.exit_code == 1 and "SPAK002" in result.stderr


def test_output_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ok.spak").write_text("spak 1\n")
    precious = tmp_path / "out" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    result = CliRunner().invoke(cli, ["compile", str(tmp_path / "ok.spak"), "-o", str(precious.parent)])
    assert result.exit_code == 1 and "SPAK007" in result.stderr
    assert precious.read_text() == "years of work"

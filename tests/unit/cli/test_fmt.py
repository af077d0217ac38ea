"""`spakc fmt`: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spakc.cli import cli
from spakc.resources import resource
from spakc.syntax import build_ast
from spakc.syntax.pieces import STATEMENTS

EXAMPLES = sorted(resource("examples").rglob("*.spak"))

UGLY = """# head
spak 1
use   std.devices


targets h100,a100   # both
kernel k :product
{
    dim M,N , K # sizes

  input  A:bf16|f16 [M,K] layout row|column
  input bias:same( A ) [N] optional=- 1
  output C: f32[M , N]
  math { acc[m,n]=sum [k](A[m ,k]*A[n,k])   C[ m,n ] = acc[m,n]+bias[n] }
  # own line
  schedule naive { knob block in {8,16} }
  schedule tiled { knob tile_m in {32}
knob k in 1..4   # few
 let x=2*( tile_m+1)
 law fits: x<=227KiB when x in 1+1..9
because "it must"
  }   } law last: 1<2
"""
PRETTY = """# head
spak 1
use std.devices

targets h100, a100  # both
kernel k: product {
  dim M, N, K  # sizes

  input  A: bf16 | f16 [M, K]  layout row | column
  input  bias: same(A) [N]  optional = -1
  output C: f32        [M, N]
  math { acc[m, n] = sum[k](A[m, k] * A[n, k])   C[m, n] = acc[m, n] + bias[n] }
  # own line
  schedule naive { knob block in {8, 16} }
  schedule tiled {
    knob tile_m in {32}
    knob k      in 1..4  # few
    let x = 2 * (tile_m + 1)
    law fits: x <= 227 KiB when x in 1 + 1 .. 9
        because "it must"
  }
}
law last: 1 < 2
"""


TABLE = """spak 1
device a {
  arch = sm_80     sms = 108
  tma = false      wgmma = false
  bandwidth = 2039 GB/s  l2 = 40 MiB
}
"""


def fmt(*arguments: str | Path, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(cli, ["fmt", *map(str, arguments)], input=stdin)


def test_statements_on_one_line_stay_as_far_apart_as_they_were() -> None:
    """Lines of several may be a table; what stands too near is put apart, and inside a statement no blanks are kept."""
    assert fmt("-", stdin=TABLE).output == TABLE
    near = TABLE.replace("sm_80     sms", "sm_80 sms").replace("wgmma = false", "wgmma   =  false")
    assert fmt("-", stdin=near).output == TABLE.replace("sm_80     sms", "sm_80  sms")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_in_the_one_shape(path: Path) -> None:
    result = fmt(path, "--check")
    assert result.exit_code == 0 and not result.output, result.output


def test_the_one_shape(tmp_path: Path) -> None:
    path = tmp_path / "a.spak"
    path.write_text(UGLY)
    path.chmod(0o640)
    assert fmt(path).exit_code == 0
    assert path.read_text() == PRETTY
    assert path.stat().st_mode & 0o777 == 0o640
    before = path.stat().st_mtime_ns
    assert fmt(path).exit_code == 0 and path.stat().st_mtime_ns == before, (
        "nothing to change, nothing written"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_standard_input(tmp_path: Path) -> None:
    assert fmt("-", stdin=UGLY).stdout == PRETTY
    assert fmt("-", stdin=("\ufeff" + UGLY.replace("\n", "\r\n")).encode()).stdout == PRETTY
    refused = fmt("-", stdin=b"spak 1\n\xff")
    assert refused.exit_code == 1 and "SPAK002" in refused.stderr
    assert json.loads(fmt("-", "--format", "json", stdin=UGLY).stdout)["text"] == PRETTY


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_nothing_is_written_when_asked_only(option: str, tmp_path: Path) -> None:
    ugly, pretty = tmp_path / "ugly.spak", tmp_path / "pretty.spak"
    ugly.write_text(UGLY)
    pretty.write_text(PRETTY)
    result = fmt(option, ugly, pretty)
    assert result.exit_code == 1 and result.stderr.count("SPAK008") == 2  # the code, and how to read of it
    assert "ugly.spak" in result.stderr and "pretty.spak" not in result.stderr
    assert ("+  dim M, N, K  # sizes" in result.stdout) == (option == "--diff")
    assert ugly.read_text() == UGLY
    assert fmt(option, pretty).exit_code == 0


def test_a_file_with_a_mistake_is_left_alone_and_the_others_are_not(tmp_path: Path) -> None:
    wrong, ugly = tmp_path / "wrong.spak", tmp_path / "ugly.spak"
    wrong.write_text("spak 1\nkernel {")
    ugly.write_text(UGLY)
    result = fmt(wrong, ugly, tmp_path / "none.spak")
    assert result.exit_code == 1
    assert "SPAK1" in result.stderr and "SPAK001" in result.stderr
    assert wrong.read_text() == "spak 1\nkernel {" and ugly.read_text() == PRETTY


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.spak").write_text(UGLY)
    (tmp_path / "link.spak").symlink_to("real.spak")
    assert fmt(tmp_path / "link.spak").exit_code == 0
    assert (tmp_path / "link.spak").is_symlink() and (tmp_path / "real.spak").read_text() == PRETTY


def test_formatting_does_not_outgrow_a_file() -> None:
    text = "spak 1\n" + "let a=1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1\n" * 23_000
    result = fmt("-", stdin=text)
    assert result.exit_code == 1 and "SPAK003" in result.stderr and not result.stdout


def test_every_statement_of_the_grammar_is_known_to_the_formatter() -> None:
    read_inside = {"version", "use", "targets", "role", "setting", "equation"}
    assert set(build_ast._STATEMENTS) | read_inside == STATEMENTS

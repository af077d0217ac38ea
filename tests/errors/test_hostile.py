"""Wrong and hostile files: each earns one diagnostic and exit 1; nothing is executed or written."""

from __future__ import annotations

import json
import os
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


MODEL = """spak 1
model m {{
  hyper width = 8
  part same(x: [B, T, width]) -> y: [B, T, width] {{ y = {part} }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{ logits = unembed(same(embed(tokens)), tied = true) }}
}}
dataset d {{ sample a: digits(n) text a, "=", a, end loss after "=" split train n in 1..2 split test n in {{3}} }}
experiment e {{
  model m(width = {width})
  data d
  train(steps = 2, batch = 2, seeds = {{0}})
  optimizer adamw({adamw})
  lr constant({lr})
  profile cpu {{ train.steps = 1 }}
}}
"""


def model(part: str = "norm(x)", width: str = "8", adamw: str = "", lr: str = "1e-3") -> str:
    return MODEL.format(part=part, width=width, adamw=adamw, lr=lr)


def edited(old: str, new: str) -> str:
    """The sound model with one stretch of text exchanged."""
    assert old in model()
    return model().replace(old, new)


def claim(text: str) -> str:
    return model() + f"claim c: {text}\n"


def timed(size: str, dtype: str = "f32") -> str:
    return kernel() + f"claim c: speed(k, N = {size}, dtype = {dtype}) >= 1 TFLOP/s\n"


def gated(train: str) -> str:
    protocol = f"protocol p {{ gate g {{ train({train}) require loss < 1 }} }}\n"
    return edited("experiment e {", f"{protocol}experiment e {{ protocol p")


LOOPED = """spak 1
model m {{
  hyper width = 8, loops = 4
  part block(x: [B, T, width]) -> y: [B, T, width] {{ y = norm(x) }}
  part readout(x: [B, T, width]) -> logits: [B, T, vocab] {{ logits = unembed(x, tied = true) }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{
    x = embed(tokens)
    loop l in 1..{last} carry x = x {{ x = block(x) }}
    logits = readout(x)
  }}
  supervise readout at {supervised}
  halting {{ mode = exit  earliest = {earliest}  threshold = {threshold} }}
}}
dataset d {{ sample a: digits(n) text a, "=", a, end loss after "=" split train n in 1..2 split test n in {{3}} }}
experiment e {{ model m data d train(steps = 2, batch = 2, seeds = {{0}}) optimizer adamw() lr constant(1e-3) }}
"""


def looped(
    last: str = "loops", supervised: str = "l in 2..loops", earliest: str = "2", threshold: str = "0.9"
) -> str:
    return LOOPED.format(last=last, supervised=supervised, earliest=earliest, threshold=threshold)


HOSTILE: dict[str, bytes | str] = {
    "the only schedule has no lawful point": """spak 1
use std.devices
targets a100
kernel k: product {
  dim M, N, K
  input A: bf16 [M, K]
  input B: bf16 [K, N]
  output C: f32 [M, N]
  math { C[m, n] = sum[k](A[m, k] * B[k, n]) }
  schedule tiled { knob tile_m in {32, 64} knob tile_n in {32} knob tile_k in {16} law wide: tile_m > 64 }
}
""",
    **{
        f"a corpus that leaves the project: {path}": f"""spak 1
dataset d {{ text characters(file("{path}")) split train fraction 90% split test fraction 10% }}
"""
        for path in ("/etc/passwd", "../poem.txt", "a/../../poem.txt", "https://x/y", "a\\\\b")
    },
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
    "old line ends": "spak 1\rlet a = 1\r",
    "utf-16": "spak 1\n".encode("utf-16"),
    "half a surrogate pair": b'spak 1\nintent "\xed\xa0\x80"\n',
    "homoglyph": kernel("y[i] = \u0445[i]"),
    "letters with marks": "spak 1\nlet gr\u00f6\u00dfe = 1\n",
    "blank that does not break": "spak\u00a01\n",
    "typographic minus": "spak 1\nlet a = 3 \u2212 1\n",
    "name of a file that is too long": 'spak 1\nuse "' + "a" * 5000 + '.spak"\n',
    "folders too deep": 'spak 1\nuse "' + "a/" * 3000 + 'b.spak"\n',
    "long chain of like": "spak 1\ndevice d0 { arch = sm_80 }\n"
    + "".join(f"device d{i + 1} like d{i} {{ }}\n" for i in range(300)),
    "lets that double": "spak 1\nlet a0 = 1\n" + "".join(f"let a{i + 1} = a{i} + a{i}\n" for i in range(60)),
    "equations that double": kernel(
        "t0[i] = x[i] " + " ".join(f"t{i + 1}[i] = t{i}[i] * t{i}[i]" for i in range(60)) + " y[i] = t60[i]"
    ),
    "unknown unit": "spak 1\nlet a = 12 KB\n",
    "empty set": kernel(dim=" in {}"),
    "no tensors": "spak 1\nkernel k: elementwise { }",
    "no output": "spak 1\nkernel k: elementwise { dim N input x: f32 [N] math { } }",
    "a set for an element": kernel("y[i] = {x[i]}"),
    "a tuple for an element": kernel("y[i] = (x[i], x[i])"),
    "shape divided by zero": kernel().replace("output y: f32 [N]", "output y: f32 [N // 0]"),
    "index divided by zero": kernel("y[i] = x[i % 0]"),
    "element divided by zero": kernel("y[i] = x[i] * (i // 0)"),
    "claim for every value of nothing": model() + "claim c: parameters(e) > n for every n in {}",
    "pair of values for three names": model() + "claim c: parameters(e) > a for every (a, b, f) in {(1, 2)}",
    "split of no sample": model().replace("split test n in {3}", "split test n in {3} size 0"),
    "width below zero": model(width="0 - 8"),
    "width beyond reason": model(width="999_999_999_999_999_999"),
    "heads that do not divide": model("attention(x, heads = 3, causal = true)"),
    "no heads": model("attention(x, heads = 0, causal = true)"),
    "rotation of single elements": model("attention(x, heads = 8, causal = true, positions = rope(10_000))"),
    "clip below zero": model(
        "attention(x, heads = 2, causal = true, positions = relative(clip = -1, index = digit_run, scale = 8))"
    ),
    "everything dropped": model("dropout(x, 2.0)"),
    "nothing hidden": model("mlp(x, hidden = 0, activation = gelu)"),
    "three betas": model(adamw="betas = (0.9, 0.95, 0.99)"),
    "beta beyond one": model(adamw="betas = (0.9, 1.5)"),
    "infinite rate": model(lr="inf"),
    "phase after the end": model(adamw="weight_decay = 1e-4 then 1e-1 from 150%"),
    "rotation by nothing": model("attention(x, heads = 2, causal = true, positions = rope(0))"),
    "rotation by truth": model("attention(x, heads = 2, causal = true, positions = rope(true))"),
    "a billion layers": edited(
        "y = norm(x)", "y = x repeat 1_000_000_000 { y = y + linear(y, out = width) }"
    ),
    "a billion loops": looped(last="1_000_000_000"),
    "no loop": looped(last="0"),
    "supervised before the first loop": looped(supervised="l in 0..loops"),
    "supervised after the last loop": looped(supervised="l in 2..loops + 1"),
    "supervised from back to front": looped(supervised="l in 3..2"),
    "supervised by another index": looped(supervised="z in 2..loops"),
    "earliest never": looped(earliest="0"),
    "earliest after the end": looped(earliest="5"),
    "earliest between loops": looped(earliest="1.5"),
    "threshold beyond certainty": looped(threshold="2"),
    "threshold below nothing": looped(threshold='where(after("="), 0.9, -1)'),
    "no steps": edited("steps = 2", "steps = 0"),
    "steps of bytes": edited("steps = 2", "steps = 1 KiB"),
    "steps beyond reason": edited("steps = 2", "steps = 999_999_999_999_999_999"),
    "negative batch": edited("batch = 2", "batch = -5"),
    "batch beyond reason": edited("batch = 2", "batch = 999_999_999_999"),
    "half a batch": edited("batch = 2", "batch = 0.5"),
    "the same seed twice": edited("seeds = {0}", "seeds = {3, 3}"),
    "no seed": edited("seeds = {0}", "seeds = {}"),
    "seed beyond reason": edited("seeds = {0}", "seeds = {99_999_999_999_999_999}"),
    "rate of zero": model(lr="0"),
    "negative rate": model(lr="-1"),
    "half a step of warm-up": edited("constant(1e-3)", "cosine(peak = 1e-3, warmup = 1.5)"),
    "a peak without its name": edited("constant(1e-3)", "cosine(1e-3)"),
    "more than all of a mixture": edited("split train n in 1..2", "split train n in 1..2 weight 250%"),
    "nothing of a mixture": edited("split train n in 1..2", "split train n in 1..2 weight 0%"),
    "half of a mixture": edited("split train n in 1..2", "split train n in 1..2 weight 50%"),
    "numbers without digits": edited("digits(n)", "digits(0)"),
    "split beyond reason": edited("split test n in {3}", "split test n in {3} size 999_999_999_999"),
    "hyper with a unit": model(width="8 KiB"),
    "gate of no steps": gated("steps = 0, batches = 1"),
    "gate of half a batch": gated("steps = 5, batches = 1.5"),
    "gate that keeps everything": gated("steps = 5, keep = 3"),
    "gate divided by zero": gated("steps = 5").replace("loss < 1", "loss / 0 < 1"),
    "claim at a size that is a word": timed("f32"),
    "claim at a size that is a text": timed('"x"'),
    "claim at a size with a fraction": timed("3.5"),
    "claim at no size": timed("0"),
    "claim at a size below nothing": timed("-3"),
    "claim of a dtype that is a number": timed("3", "7"),
    "claim of a dtype that is an activation": timed("3", "gelu"),
    "claim divided by zero": claim("parameters(e) / 0 > 1"),
    "claim that some point divides by zero": claim("parameters(e) / n > 1 for every n in 0..3"),
    "claim whose pair divides by zero": claim(
        "parameters(e) // (a - b) > 1 for every (a, b) in {(2, 1), (1, 1)}"
    ),
    "claim for a billion points": claim("parameters(e) > n for every n in 1..1_000_000_000"),
    "claim for many points of many": claim("parameters(e) > n + m for every n in 1..1000, m in 1..1000"),
    "claim for an empty range": claim("parameters(e) > n for every n in 3..1"),
    "claim with steps of zero": claim("parameters(e) > n for every n in 1..3 step 0"),
    "range for pairs": claim("parameters(e) > a for every (a, b) in 1..3"),
    "file law divided by zero": "spak 1\nlet a = 1 / 0\nlaw l: a == 1\n",
    "an option of no function": kernel("y[i] = f(x[i])", "option f: nope = nope"),
    "gradient of one input twice": kernel(more="gradient y wrt x, x"),
    "negative tolerance": kernel(more="verify { tolerance -1 }"),
    "endless tolerance": kernel(more="verify { tolerance inf }"),
    "tolerance in bytes": kernel(more="verify { tolerance ulp(y) + 1 KiB }"),
    "cases beyond reason": kernel(more="verify { cases 1_000_000_000_000 }"),
    "sizes below zero": kernel(more="verify { shapes N in -5..3 }"),
    "preference divided by zero": kernel(more="schedule grid_stride { knob vector in {1} prefer N / 0 > 1 }"),
    "a size without end": MODEL.format(part="norm(x)", width="8", adamw="", lr="1e-3").replace(
        "T, vocab]", "T, inf]"
    ),
    "splits that are a word of the language": edited("split test", "law l: disjoint(train, text) split test"),
    "a split over pairs with three numbers": edited(
        "split train n in 1..2", "split train (n, m) in {(1, 2, 3)}"
    ),
    "a split over a set of numbers and pairs": edited(
        "split train n in 1..2", "split train n in {1, (1, 2)}"
    ),
    "a sweep over pairs with three numbers": edited(
        "data d\n", "data d\n  vary (width, steps) in {(8, 1, 2)}\n"
    ),
    "a sweep over pairs with one number": edited("data d\n", "data d\n  vary (width, steps) in {8}\n"),
    "a split that is the end of a text": edited("split test", "law l: disjoint(train, end) split test"),
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


def test_windows_line_ends_and_a_byte_order_mark_are_text(tmp_path: Path) -> None:
    path = tmp_path / "windows.spak"
    path.write_bytes(b"\xef\xbb\xbf" + kernel().replace("\n", "\r\n").encode())
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "link to itself", "link to the user"])
def test_what_is_used_must_be_a_file_of_its_own(kind: str, tmp_path: Path) -> None:
    used = tmp_path / "used.spak"
    (tmp_path / "user.spak").write_text('spak 1\nuse "used.spak"\n')
    match kind:
        case "folder":
            used.mkdir()
        case "pipe":
            os.mkfifo(used)
        case "device":
            used.symlink_to("/dev/zero")
        case "link to itself":
            used.symlink_to(used.name)
        case _:
            used.symlink_to("user.spak")
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "user.spak"), "--format", "json"])
    assert result.exit_code == 1, result.output
    assert len(result.stderr.splitlines()) == 1


def test_a_project_of_too_many_files(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"f{number}.spak").write_text(f'spak 1\nuse "f{number + 1}.spak"\n')
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "f0.spak"), "--format", "json"])
    assert result.exit_code == 1 and [json.loads(line)["code"] for line in result.stderr.splitlines()] == [
        "SPAK003"
    ]


@pytest.mark.parametrize("where", ["below a file", "a file", "a name that is too long"])
def test_where_nothing_can_be_written(where: str, tmp_path: Path) -> None:
    (tmp_path / "ok.spak").write_text("spak 1\n")
    (tmp_path / "file").write_text("a file")
    out = {"below a file": "file/out", "a file": "file"}.get(where, "n" * 300)
    result = CliRunner().invoke(cli, ["compile", str(tmp_path / "ok.spak"), "-o", str(tmp_path / out)])
    assert result.exit_code == 1 and "SPAK007" in result.stderr, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "ok.spak"]
    assert (tmp_path / "file").read_text() == "a file"


def test_an_output_folder_behind_a_link_stays_behind_it(tmp_path: Path) -> None:
    (tmp_path / "ok.spak").write_text("spak 1\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to("elsewhere")
    for _ in range(2):
        result = CliRunner().invoke(cli, ["compile", str(tmp_path / "ok.spak"), "-o", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "out").is_symlink() and (tmp_path / "elsewhere" / "manifest.json").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "ok.spak", "out"]


def test_what_someone_added_to_an_artifact_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "ok.spak").write_text("spak 1\n")
    arguments = ["compile", str(tmp_path / "ok.spak"), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1 and "SPAK007" in result.stderr
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_output_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ok.spak").write_text("spak 1\n")
    precious = tmp_path / "out" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    result = CliRunner().invoke(cli, ["compile", str(tmp_path / "ok.spak"), "-o", str(precious.parent)])
    assert result.exit_code == 1 and "SPAK007" in result.stderr
    assert precious.read_text() == "years of work"

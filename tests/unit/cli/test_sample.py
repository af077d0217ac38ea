"""`spakc sample`: the text of a run, on stdout; without a run a diagnostic."""

import json
from pathlib import Path

from tests.unit.cli.invoke import invoke
from tests.unit.cli.test_run import write


def test_the_text_of_a_run(tmp_path: Path):
    file, out = write(tmp_path), tmp_path / "out"
    assert invoke("run", file, "-o", out, "--profile", "quick").exit_code == 0
    command = ("sample", file, "e", "-o", out, "--profile", "quick", "--prompt", "7=", "--prompt", "3")
    first, second = (invoke(*command, "--tokens", "5", "--seed", "4") for _ in "ab")
    assert first.exit_code == 0 and first.stdout == second.stdout
    assert first.stdout.startswith("7=") and "\n3" in first.stdout
    found = [json.loads(line) for line in invoke(*command, "--format", "json").stdout.splitlines()]
    assert [(row["schema"], row["prompt"]) for row in found] == [("spak-sample/1", p) for p in ("7=", "3")]
    weights = next(out.glob("runs/*/model.safetensors"))
    named = invoke("sample", file, "--prompt", "7=", "--checkpoint", weights, "--tokens", "5", "--seed", "4",
                   "-o", tmp_path / "other")  # fmt: skip
    assert first.stdout.startswith(named.stdout.rstrip("\n")), "the same weights from another place"


def test_without_a_run(tmp_path: Path):
    result = invoke("sample", write(tmp_path), "-o", tmp_path / "out", "--prompt", "7")
    assert result.exit_code == 1 and "SPAK562" in result.stderr and not result.stdout


def test_a_prompt_of_other_characters(tmp_path: Path):
    file, out = write(tmp_path), tmp_path / "out"
    invoke("run", file, "-o", out, "--profile", "quick")
    result = invoke("sample", file, "-o", out, "--profile", "quick", "--prompt", "seven")
    assert result.exit_code == 1 and "SPAK559" in result.stderr and "Traceback" not in result.output

"""`spakc bench` on the device: figures, evidence and verdicts of claims over times."""

import json

import pytest
from click.testing import CliRunner

from spakc.cli import cli
from tests.unit.bench.test_bench import FILE

CLAIMS = """
claim slow: speed(mix, P = 512, Q = 512, R = 512, dtype = bf16) >= 0.001 TFLOP/s
claim impossible: speed(mix, P = 512, Q = 512, R = 512, dtype = bf16) >= 100_000 TFLOP/s
claim near: geomean(speed(mix, R = 256, dtype = f16) / speed(torch.matmul)) >= 1e-6 with confidence 95%
  for every (P, Q) in {(256, 256), (512, 128)}, left in {row, column}
"""


@pytest.fixture
def timed(tmp_path):
    path = tmp_path / "file.spak"
    path.write_text(FILE + CLAIMS)
    return path, CliRunner().invoke(cli, ["bench", str(path), "--rounds", "5", "--format", "json"])


def test_claims_over_times_get_verdicts(timed):
    path, result = timed
    assert result.exit_code == 4, result.output
    figures = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(figures) == 6 and not any(each["missing"] for each in figures)
    for each in figures:
        assert all(len(s["seconds"]) == 5 and min(s["seconds"]) > 0 for s in each["subjects"])
    page = CliRunner().invoke(cli, ["status", str(path), "--format", "json"]).stdout
    found = {row["statement"]: row for row in map(json.loads, page.splitlines()) if "statement" in row}
    verdicts = {name: found[f"claim {name}"]["verdict"] for name in ("slow", "impossible", "near")}
    assert verdicts == {"slow": "holds", "impossible": "violated", "near": "holds"}

"""`.spak` text and files, compiled as far as experiments: what the tests of models and training share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spakc import driver
from spakc.check.check_data import check_data
from spakc.check.check_experiment import ExperimentFacts, check_experiments
from spakc.check.check_model import check_models
from spakc.check.check_points import check_points
from spakc.check.data_facts import DatasetFacts
from spakc.check.model_shapes import Shapes
from spakc.diagnostics import Sink, SpakError
from spakc.emit.environment import environment
from spakc.emit.torch_glue import emit_experiments
from spakc.ir.module import Module
from spakc.lower.lower import lower
from spakc.lower.program import Program
from spakc.source import SourceFile
from spakc.syntax.build_ast import build_ast
from spakc.syntax.parse import parse

ROOT = Path(__file__).parents[3]
ADDITION = ROOT / "examples/looplm/addition.spak"
NANOGPT = ROOT / "examples/nanogpt/nanogpt.spak"
TEMPLATES = environment({path.name: path.read_text() for path in (ROOT / "templates/torch").glob("*.j2")})


@dataclass(frozen=True)
class Compiled:
    module: Module
    shapes: dict[str, Shapes]
    data: dict[str, DatasetFacts]
    experiments: dict[str, ExperimentFacts]

    def files(self) -> dict[str, str]:
        return emit_experiments(self.module, self.shapes, self.data, self.experiments, TEMPLATES)

    def write(self, out: Path) -> Path:
        """Writes the files of all experiments and returns the folder of models."""
        for name, text in self.files().items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return out / "models"


def diagnostics(text: str) -> list[tuple[str, str]]:
    """Codes and messages for a file without `use`."""
    sink = Sink()
    try:
        _check(_program(text, sink), sink)
    except SpakError as error:
        return [(d.code, d.message) for d in error.diagnostics]
    return [(d.code, d.message) for d in sink.diagnostics]


def compile_text(text: str) -> Compiled:
    sink = Sink()
    compiled = _check(_program(text, sink), sink)
    sink.stop_if_errors()
    assert compiled is not None
    return compiled


def compile_path(path: Path) -> Compiled:
    sink = Sink()
    compiled = _check(driver.load(path, sink), sink)
    sink.stop_if_errors()
    assert compiled is not None
    return compiled


def _program(text: str, sink: Sink) -> Program:
    source = SourceFile("test.spak", text)
    tree = parse(source, sink)
    sink.stop_if_errors()
    file = build_ast(tree, source, sink)
    sink.stop_if_errors()
    return Program(source.name, {source.name: file}, {source.name: ()})


def _check(program: Program, sink: Sink) -> Compiled | None:
    module = lower(program, sink)
    if sink.has_errors:
        return None
    shapes, data = check_models(module, sink), check_data(module, sink)
    if sink.has_errors:
        return None
    experiments = check_experiments(module, shapes, data, sink)
    check_points(module, experiments, sink)
    return Compiled(module, dict(shapes), dict(data), dict(experiments))


ADDERS = """
spak 1
model Stack {
  hyper layers = 2, heads = 2, wide = 16
  part floor(x: [B, T, wide]) -> y: [B, T, wide] {
    h = x + attention(norm(x), heads = heads, causal = true, positions = POSITIONS)
    y = h + mlp(norm(h), hidden = 2 * wide, activation = silu)
  }
  forward(tokens: int [B, T]) -> scores: [B, T, vocab] {
    u = embed(tokens)
    repeat layers { u = floor(u) }
    scores = unembed(norm(u), tied = TIED)
  }
}
model Wheel {
  hyper heads = 2, wide = 16, turns = 4, again = false
  part floor(x: [B, T, wide]) -> y: [B, T, wide] {
    h = x + attention(norm(x), heads = heads, causal = true, positions = POSITIONS)
    y = h + mlp(norm(h), hidden = 2 * wide)
  }
  part tell(x: [B, T, wide]) -> scores: [B, T, vocab] { scores = unembed(norm(x), tied = TIED) }
  forward(tokens: int [B, T]) -> scores: [B, T, vocab] {
    first = embed(tokens)
    loop t in 1..turns carry u = first { u = floor(u + step(t, beyond = BEYOND) + where(again, first, 0)) }
    scores = tell(u)
  }
  supervise tell at t in turns // 2 + 1 .. turns
  halting { mode = MODE  earliest = turns // 2 + 1  confidence = max_probability  threshold =
  where(after("="), 0.6, 0.3) }
}
dataset sums {
  sample p: digits(n)   sample q: digits(m)
  text reverse(p), "+", reverse(q), "=", reverse(p + q), end
  loss after "="
  split train n in 1..3, m in 1..3
  split held n in 1..3, m in 1..3 size 40
  split long n in {5}, m in {5} size 30
  law apart: disjoint(train, held, long)
  law right: number(answer(text)) == p + q
}
protocol steps {
  gate sane   { require laws(data)  show decoded(batch) }
  gate alike  { require format(train) == format(eval) }
  gate learns { train(steps = 20, batches = 1, batch = 8)  require loss < 5 }
  gate long_run { train(eval_every = 20, keep = last)  require accuracy(self, train) >= 0% else hide long }
}
experiment stack {
  model Stack(wide = 32)   data sums   protocol steps
  train(steps = 40, batch = 16, seeds = {0, 1}, precision = bf16, clip = 1.0)
  optimizer adamw(betas = (0.9, 0.95), weight_decay = 1e-4 then 1e-1 from 50%)
  lr cosine(peak = 3e-3, warmup = 5)
  profile tiny { train.steps = 10  lr = 1e-3  model.wide = 16 }
}
experiment wheel like stack { model Wheel(wide = 32, turns = 4) }
experiment sweep like wheel { vary turns in {1, 2}, again in {true, false} }
"""


def adders(
    positions: str = "rope(10_000)", tied: str = "true", beyond: str = "last", mode: str = "exit"
) -> str:
    """Two small models, data and experiments, with names of their own."""
    text = ADDERS.replace("POSITIONS", positions).replace("TIED", tied)
    return text.replace("BEYOND", beyond).replace("MODE", mode)


def with_config(settings: Any, **values: Any) -> Any:
    """Settings with other hypers, without the compiler's count for the old ones."""
    return replace(settings, config={**settings.config, **values}, parameters=None)

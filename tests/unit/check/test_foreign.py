"""What is known at one place of a file and stands at another: a mistake of the file, found before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from spak_runtime.training import gates
from spak_runtime.training.spec import Gate, Requirement
from spakc.check.check_protocol import GATE_OPERATIONS, GATE_QUERIES
from spakc.check.data_laws import LAW_QUERIES
from spakc.diagnostics import SpakError
from spakc.driver import check_file

KERNEL = """spak 1
kernel k: elementwise {{
  dim N{domain}
  input x: f32 [N]
  output y: f32 [N]
  math {{ y[i] = {value} }}
}}
"""

LEARNED = """spak 1
dataset sums {{
  sample a: {sample}
  sample b: digits(n)
  text a, "+", b, "=", a + b, end
  loss after "="
  split train n in 1..2
  split test n in {{3}} size 10
  law right: {law}
}}
model m {{
  hyper n = 8, n_embd = 8
  part block(x: [B, T, n_embd]) -> y: [B, T, n_embd] {{
    x = x * {factor}
    y = x + attention(norm(x), heads = 2, causal = true, positions = rope(10_000))
  }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{
    x = embed(tokens)
    x = block(x)
    logits = unembed(norm(x), tied = true)
  }}
}}
protocol p {{ gate smoke {{ train(steps = 2, batches = 1) require {gate} }} }}
experiment e {{
  model m()
  data sums
  protocol p
  train(steps = 2, batch = 2, seeds = {{0}}, precision = f32)
  optimizer adamw(betas = (0.9, 0.95), weight_decay = 0.1)
  lr cosine(peak = 1e-3, warmup = 1)
}}
"""


def kernel(value: str = "x[i]", domain: str = "") -> str:
    return KERNEL.format(value=value, domain=domain)


def learned(**parts: str) -> str:
    whole = {
        "sample": "digits(n)",
        "law": "number(answer(text)) == a + b",
        "factor": "2",
        "gate": "loss < 99",
    }
    return LEARNED.format(**(whole | parts))


def codes(text: str, folder: Path) -> list[str]:
    path = folder / "own.spak"
    path.write_text(text)
    try:
        return [d.code for d in check_file(path).sink.diagnostics]
    except SpakError as error:
        assert all(d.labels for d in error.diagnostics), "at a place"
        return [d.code for d in error.diagnostics]


SIZES = (
    ("N / 2", "SPAK321"),
    ("N + N / 2, 3", "SPAK321"),
    ("N > 3", "SPAK321"),
    ("sqrt(N)", "SPAK321"),
    ("3 KiB", "SPAK319"),
)
"""Of a tensor that nothing reads."""


@pytest.mark.parametrize("text", [kernel(), kernel(domain=" in {8, 16}"), learned()])
def test_what_is_right_is_right(text: str, tmp_path: Path) -> None:
    assert "SPAK" not in "".join(code for code in codes(text, tmp_path) if code not in ("SPAK105", "SPAK207"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (kernel("where(i in 1..3, x[i], 0)"), "SPAK130"),
        (kernel("where(i in {1, 2, N}, x[i], 0)"), "SPAK130"),
        (kernel("x[i] * device.sms"), "SPAK130"),
        (kernel("x[i] * 3 KiB"), "SPAK319"),
        (kernel(domain=" in {1 KiB}"), "SPAK319"),
        (kernel(domain=" in 1..4 ms"), "SPAK319"),
        *((kernel().replace("output", f"input q: f32 [{size}]\n  output"), code) for size, code in SIZES),
        (learned(factor="device.sms"), "SPAK517"),
        (learned(factor="where(n in {8}, 1, 0)"), "SPAK517"),
        (learned(sample="digits(5 KiB)"), "SPAK526"),
        (learned(law="device.sms > 0"), "SPAK130"),
        (learned(law="cubin.registers > 3"), "SPAK130"),
        (learned(law="parameters(m) > 3"), "SPAK130"),
        (learned(law="a >= 0 when flops(m) > 3"), "SPAK130"),
        (learned(law='number("a") == 1'), "SPAK128"),
        (learned(law="number(3) == 3"), "SPAK128"),
        (learned(law="number(text) == a"), "SPAK128"),
        (learned(law="answer(a) == a"), "SPAK128"),
        (learned(law="a + 3 ms == b"), "SPAK319"),
        (learned(gate="loss < device.sms"), "SPAK130"),
        (learned(gate="exp(loss) < 999"), "SPAK130"),
        (learned(gate="loss in {1, 2}"), "SPAK130"),
        (learned(gate="where(loss < 1, 1, 0) >= 0"), "SPAK130"),
        (learned(gate="parameters(self) > loss"), "SPAK130"),
        (learned(gate="cubin.registers > loss"), "SPAK130"),
    ],
)
def test_what_is_foreign_is_found(text: str, code: str, tmp_path: Path) -> None:
    assert code in codes(text, tmp_path)


@pytest.mark.parametrize("eps", ['"3"', "true", "-1", "1 / 0"])
def test_what_a_norm_adds_is_a_number(eps: str, tmp_path: Path) -> None:
    text = learned().replace("norm(x), heads", f"norm(x, eps = {eps}), heads")
    assert [c for c in codes(text, tmp_path) if c in ("SPAK552", "SPAK208", "SPAK317", "SPAK518")]


def test_a_gate_may_say_what_the_runtime_computes() -> None:
    assert {*gates._OPERATORS, "not", "neg"} == GATE_OPERATIONS
    assert {*gates._QUERIES, "decoded"} == GATE_QUERIES
    assert {"text", "answer", "number"} < LAW_QUERIES


def test_a_requirement_without_a_truth_value_does_not_hold() -> None:
    def holds(proposition: object) -> gates.Verdict:
        gate = Gate("smoke", None, (Requirement(proposition, "", (), None),), ())
        return gates.Judge(None, lambda *_: 1.0, 0, loss=0.5).judge(gate).verdicts[0]

    nothing = holds(["lt", ["div", 1, ["sub", ["loss"], ["loss"]]], 99])
    assert not nothing.holds and "zero" in nothing.figures["no truth value"]
    assert holds(["lt", ["neg", ["loss"]], 0]).holds


UNITED = """spak 1
kernel k: elementwise {{
  dim N
  input x: f32 [N]
  option share: f32 = {option}
  output y: f32 [N]
  math {{ y[i] = share * x[i] }}
  verify {{ shapes N in {shapes}  cases 3 }}
}}
dataset sums {{
  sample a: digits(n)
  sample b: digits(n)
  text a, {piece}, b, "=", a + b, end
  loss after "="
  split train n in 1..2
  split test n in {split} size 10
}}
model m {{
  hyper n_embd = 8
  part block(x: [B, T, n_embd]) -> y: [B, T, n_embd] {{ y = norm(x) }}
  forward(tokens: int [B, T]) -> logits: [B, T, vocab] {{ logits = unembed(block(embed(tokens)), tied = true) }}
}}
experiment e {{
  model m()
  data sums
  train(steps = 2, batch = 2, seeds = {{0}}, precision = f32)
  optimizer adamw(betas = (0.9, 0.95), weight_decay = 0.1)
  lr cosine(peak = 1e-3, warmup = 1)
}}
experiment many like e {{ vary {vary} }}
claim fast: time(k, N = {size}, share = {given}) < 1 ms
"""
PLAIN = {
    "option": "0.5",
    "shapes": "1..9",
    "piece": '"+"',
    "split": "{3}",
    "vary": "n_embd in {8, 16}",
    "size": "4096",
    "given": "0.5",
}


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({}, ""),
        ({"split": "{3 KiB}"}, "SPAK529"),
        ({"split": "1..3 KiB"}, "SPAK529"),
        ({"split": "1..8 step 2 ms"}, "SPAK529"),
        ({"piece": '3 KiB, "+"'}, "SPAK527"),
        ({"vary": "n_embd in {8, 16 KiB}"}, "SPAK545"),
        ({"vary": "steps in {2 ms}"}, "SPAK545"),
        ({"option": "3 ms"}, "SPAK322"),
        ({"shapes": "1..3 KiB"}, "SPAK305"),
        ({"shapes": "{3 KiB}"}, "SPAK305"),
        ({"size": "4 KiB"}, "SPAK129"),
        ({"given": "1 ms"}, "SPAK129"),
    ],
)
def test_units_stand_where_something_has_one(parts: dict[str, str], code: str, tmp_path: Path) -> None:
    found = [each for each in codes(UNITED.format(**(PLAIN | parts)), tmp_path) if each != "SPAK105"]
    assert found == ([code] if code else [])

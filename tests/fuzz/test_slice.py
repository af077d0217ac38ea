"""A slice of the long campaign (`make fuzz`)."""

from __future__ import annotations

from tests.fuzz.campaign import past_the_parser, some


def test_nothing_but_diagnostics_and_answers() -> None:
    found, failed = some(range(5_000, 5_140))
    assert not failed, f"input {failed[0].number} ({failed[0].kind}):\n{failed[0].text}\n{failed[0].why}"
    assert past_the_parser(found) >= 0.3
    assert {kind for kind, _ in found} == {"bytes", "tokens", "derivation", "mutant", "kin"}
    assert len({code for _, code in found}) > 10, "the fuzzer has become tame"

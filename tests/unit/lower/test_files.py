"""Names across files, devices, roles."""

from __future__ import annotations

import pytest

from tests.unit.lower.front import COPY, DEVICES, diagnostics, kernel_text, lowered, marked, only

USE = 'spak 1\nuse "gpus.spak"\n'


def test_use_brings_names_and_laws_in_transitively() -> None:
    module = lowered(
        'spak 1\nuse "a.spak"\ntargets gpu\n', a=f"{USE}law l: 1 < 2\nlet half = 2\n", gpus=DEVICES
    )
    assert set(module.devices) == {"gpu", "old"} and module.targets == ("gpu",)
    assert [law.name for law in module.laws] == ["l"] and module.own == frozenset()


def test_an_alias_stands_before_the_names_of_a_file() -> None:
    root = f'{USE}use "a.spak" as other\ntargets gpu\nlaw l: other.limit == 3\n'
    root += "claim c: speed(other.k) > speed(torch.matmul)\n"
    module = lowered(root, a=kernel_text(f"{COPY} law inner: M > 0") + "let limit = 3\n", gpus=DEVICES)
    assert set(module.kernels) == {"other.k"} and module.kernels["other.k"].name == "other.k"
    assert module.kernels["other.k"].laws[0].qualified == "other.k.inner"
    assert {let.name for let in module.lets} == {"other.limit"}
    assert module.own == {"l", "c"}


def test_a_diamond_is_one_declaration_under_its_shortest_name() -> None:
    root = f'{USE}use "a.spak" as other\ntargets gpu\n'
    module = lowered(root, a='spak 1\nuse "gpus.spak"\nlet x = 1\n', gpus=DEVICES)
    assert set(module.devices) == {"gpu", "old"}


def test_two_declarations_of_one_name_need_an_alias() -> None:
    found = only(f"{USE}device gpu {{ arch = host }}\n", gpus=DEVICES)
    assert found.code == "SPAK124" and marked(found) == ["gpu", "gpu"]
    found = only('spak 1\nuse "a.spak"\nuse "b.spak"\n', a="spak 1\nlet x = 1\n", b="spak 1\nlet x = 2\n")
    assert found.code == "SPAK124" and marked(found) == ['use "b.spak"', "x", "x"]
    found = only('spak 1\nuse "a.spak"\nlaw l: true\n', a="spak 1\nlaw l: true\n")
    assert found.code == "SPAK124"


def test_like_merges_facts() -> None:
    old = lowered(DEVICES).devices["old"]
    assert old.arch == "sm_80" and old.facts["sms"] == 132 and old.facts["smem_per_block"] == 163 * 1024
    assert old.facts["bandwidth"] == 3.35e12 and old.facts["tma"] is False


@pytest.mark.parametrize(
    ("text", "code", "places"),
    [
        ("device a { arch = sm_80 smms = 3 }", "SPAK127", ["smms"]),
        ("device a { arch = sm_80 sms = 3 KiB }", "SPAK314", ["3 KiB"]),
        ("device a { arch = sm_80 l2 = 40 MiB tma = 1 }", "SPAK314", ["1"]),
        ("device a { arch = ampere }", "SPAK314", ["ampere"]),
        ("device a { sms = 3 }", "SPAK315", ["a"]),
        ("device a { arch = sm_80 sms = 3 sms = 4 }", "SPAK122", ["sms", "sms"]),
        ("device a like c { } device b { arch = host }", "SPAK132", ["c"]),
        ("device a like b { } device b like a { }", "SPAK132", ["b", "a"]),
        ("device a like a { arch = host }", "SPAK132", ["a"]),
        ("device a { arch = host } device a { arch = host }", "SPAK122", ["a", "a"]),
        ("roles { boss owns law boss owns knob }", "SPAK122", ["boss", "boss"]),
        ("roles { boss owns law other owns law }", "SPAK122", ["law", "law"]),
        ("roles { boss owns laws }", "SPAK139", ["laws"]),
    ],
)
def test_mistakes_in_devices_and_roles(text: str, code: str, places: list[str]) -> None:
    found = only(f"spak 1\n{text}\n")
    assert (found.code, marked(found)) == (code, places)


def test_unknown_targets_say_what_there_is() -> None:
    found = only(f"{USE}targets gpuu\n", gpus=DEVICES)
    assert found.code == "SPAK131" and "`gpu`" in found.help[0]
    assert "std.devices" in only("spak 1\ntargets h100\n").help[0]


def test_a_long_chain_of_like_is_refused_not_followed_forever() -> None:
    text = "spak 1\ndevice d0 { arch = host }\n" + "".join(
        f"device d{i + 1} like d{i} {{ }}\n" for i in range(400)
    )
    assert {d.code for d in diagnostics(text)} == {"SPAK132"}


def test_implementations_are_read_with_the_names_of_their_kernel() -> None:
    wanted = 'implement k as mine on gpu needs device.tma { source = "m.cu" entry = "m" threads = 64 '
    wanted += "grid = (M, 1, 1) arguments = (x, y) }"
    module = lowered(f"{USE}{kernel_text(COPY)[7:]}{wanted}\n", gpus=DEVICES)
    (found,) = module.implementations
    assert (found.kernel, found.name, found.on) == ("k", "mine", ("gpu",))
    assert set(found.settings) == {"source", "entry", "threads", "grid", "arguments"}


def test_roles_targets_and_intents_are_those_of_the_root() -> None:
    used = 'spak 1\nintent "theirs"\nroles { boss owns law }\n'
    module = lowered('spak 1\nuse "a.spak"\nintent "ours"\n', a=used)
    assert module.intents == ("ours",) and not module.roles

import json
import os
import subprocess
import sys
import time

import pytest

from spak_runtime.cache import SCHEMA, KernelCache, digest
from spak_runtime.errors import CacheWarning
from spak_runtime.nvrtc import BuildRequest, Compiled

LOG = "ptxas info    : Compiling entry function 'k' for 'sm_80'\nptxas info    : Used 40 registers"


def request(source='#line 3 "a.spak"\nbody', **changes):
    fields = {
        "name": "k.cu",
        "source": source,
        "headers": {"h": "text"},
        "options": ("-DX=1",),
        "arch": "sm_80",
    }
    return BuildRequest(**(fields | changes))


class Compiler:
    """Counts its calls; what it yields says which call it was."""

    def __init__(self):
        self.calls = 0

    def __call__(self, asked):
        self.calls += 1
        return Compiled.from_log(f"cubin {self.calls} of {asked.arch}".encode(), LOG)


@pytest.fixture
def cache(tmp_path):
    return KernelCache(tmp_path)


def entry_of(cache):
    (entry,) = [path for path in cache.folder.iterdir() if not path.name.startswith("tmp-")]
    return entry


def test_the_second_build_compiles_nothing(cache):
    compiler = Compiler()
    first, second = cache.build(request(), compiler), cache.build(request(), compiler)
    assert compiler.calls == 1
    assert first == second
    assert second.entries["k"].registers == 40


def test_the_source_stands_beside_the_binary(cache):
    cache.build(request(), Compiler())
    assert (entry_of(cache) / "source.cu").read_text() == request().source


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"},
        {"headers": {"h": "changed"}},
        {"headers": {"g": "text"}},
        {"options": ("-DX=2",)},
        {"options": ()},
        {"arch": "sm_89"},
    ],
)
def test_whatever_decides_the_binary_is_in_the_key(change):
    assert digest(request(), "nvrtc 13.0") != digest(request(**change), "nvrtc 13.0")


def test_the_compiler_is_in_the_key():
    assert digest(request(), "nvrtc 13.0") != digest(request(), "nvrtc 13.1")


def test_line_directives_and_names_are_not_in_the_key():
    moved = request(source='#line 99 "b.spak"\nbody', name="other.cu")
    assert digest(request(), "nvrtc 13.0") == digest(moved, "nvrtc 13.0")


@pytest.mark.parametrize("file", ["kernel.cubin", "log.txt", "source.cu", "entry.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "empty"])
def test_a_damaged_entry_is_compiled_again_and_replaced(cache, file, damage):
    compiler = Compiler()
    cache.build(request(), compiler)
    path = entry_of(cache) / file
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        flipped = content[:4] + bytes([content[4] ^ 1]) + content[5:]
        path.write_bytes({"truncate": content[: len(content) // 2], "flip": flipped, "empty": b""}[damage])
    assert cache.build(request(), compiler).cubin == b"cubin 2 of sm_80"
    assert cache.build(request(), compiler).cubin == b"cubin 2 of sm_80"
    assert compiler.calls == 2


def test_an_entry_under_a_wrong_name_is_not_used(cache):
    compiler = Compiler()
    cache.build(request(), compiler)
    cache.build(request(arch="sm_89"), compiler)
    of_80, of_89 = sorted(
        cache.folder.iterdir(), key=lambda p: json.loads((p / "entry.json").read_text())["arch"]
    )
    for file in of_80.iterdir():
        (of_89 / file.name).write_bytes(file.read_bytes())
    assert cache.build(request(arch="sm_89"), compiler).cubin == b"cubin 3 of sm_89"


def test_an_entry_of_another_schema_is_not_used(cache):
    compiler = Compiler()
    cache.build(request(), compiler)
    record = entry_of(cache) / "entry.json"
    record.write_text(record.read_text().replace(SCHEMA, "spak-cache/0"))
    cache.build(request(), compiler)
    assert compiler.calls == 2


def test_what_was_used_longest_ago_is_pruned(tmp_path):
    compiler = Compiler()
    one = sum(file.stat().st_size for file in entry_after(KernelCache(tmp_path / "size"), compiler).iterdir())
    cache = KernelCache(tmp_path / "cache", limit_bytes=int(3.5 * one))
    for age, arch in enumerate(["sm_80", "sm_86", "sm_89"]):
        cache.build(request(arch=arch), compiler)
        entry = cache.folder / digest_of(cache, arch)
        os.utime(entry, (time.time() - 100 + age,) * 2)
    cache.build(request(arch="sm_80"), compiler)  # used again, so sm_86 is the oldest
    cache.build(request(arch="sm_90"), compiler)
    kept = {json.loads((entry / "entry.json").read_text())["arch"] for entry in cache.folder.iterdir()}
    assert kept == {"sm_80", "sm_89", "sm_90"}


def entry_after(cache, compiler):
    cache.build(request(), compiler)
    return entry_of(cache)


def digest_of(cache, arch):
    (found,) = [
        entry.name
        for entry in cache.folder.iterdir()
        if json.loads((entry / "entry.json").read_text())["arch"] == arch
    ]
    return found


def test_folders_of_dead_processes_are_removed(cache):
    cache.build(request(), Compiler())
    old, new = cache.folder / "tmp-old", cache.folder / "tmp-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    cache.prune()
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path):
    (tmp_path / "kernels").write_text("a file where the folder should be")
    cache, compiler = KernelCache(tmp_path), Compiler()
    with pytest.warns(CacheWarning, match="kernels"):
        assert cache.build(request(), compiler).cubin == b"cubin 1 of sm_80"
    assert cache.build(request(), compiler).cubin == b"cubin 2 of sm_80"


def test_the_folder_is_chosen_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SPAK_CACHE_DIR", str(tmp_path / "here"))
    assert KernelCache().folder == tmp_path / "here" / "kernels"


WORKER = """
import sys
from pathlib import Path
from spak_runtime.cache import KernelCache
from spak_runtime.nvrtc import BuildRequest, Compiled
cache = KernelCache(Path(sys.argv[1]))
for turn in range(60):
    asked = BuildRequest("k", f"source {turn % 3}", {}, (), "sm_80")
    made = lambda asked: Compiled.from_log(asked.source.encode() * 5000, "")
    assert cache.build(asked, made).cubin == asked.source.encode() * 5000
    for entry in cache.folder.iterdir():  # damages entries while the other process reads and writes them
        if turn % 5 == int(sys.argv[2]) and not entry.name.startswith("tmp-"):
            try:
                (entry / "kernel.cubin").write_bytes(b"source")
            except OSError:
                pass
"""


def test_two_processes_that_build_and_damage_never_read_a_wrong_kernel(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(i)], stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
    assert not [entry for entry in (tmp_path / "kernels").iterdir() if entry.name.startswith("tmp-")]

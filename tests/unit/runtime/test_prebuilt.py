import hashlib
import json

import pytest

from spak_runtime.cache import digest
from spak_runtime.nvrtc import BuildRequest
from spak_runtime.prebuilt import Prebuilt

REQUEST = BuildRequest("k.cu", "source", {}, ("-DX=1",), "sm_90a")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "artifact"
    (folder / "cubin" / "sm_90a").mkdir(parents=True)
    (folder / "cubin" / "sm_90a" / "k.cubin").write_bytes(b"the cubin")
    write(folder)
    return folder


def write(folder, **changes):
    entry = {"file": "cubin/sm_90a/k.cubin", "sha256": hashlib.sha256(b"the cubin").hexdigest(), "log": ""}
    entry |= changes.pop("entry", {})
    cubins = {digest(REQUEST, "nvrtc 13.9"): entry}
    index = {"schema": "spak-cubins/1", "compiler": "nvrtc 13.9", "cubins": cubins}
    (folder / "cubin" / "index.json").write_text(json.dumps(index | changes))


def test_a_cubin_that_came_along_is_found_whatever_compiler_is_here(root):
    assert Prebuilt.read(root).find(REQUEST) == b"the cubin"
    moved = BuildRequest("k.cu", '#line 9 "moved.spak"\nsource', {}, ("-DX=1",), "sm_90a")
    assert Prebuilt.read(root).find(moved) == b"the cubin"
    other = BuildRequest("k.cu", "source", {}, ("-DX=2",), "sm_90a")
    assert Prebuilt.read(root).find(other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "cubin/index.json").unlink(),
        lambda f: (f / "cubin/index.json").write_text("{"),
        lambda f: (f / "cubin/index.json").write_text("[]"),
        lambda f: write(f, schema="spak-cubins/0"),
        lambda f: write(f, compiler="nvrtc 13.8"),
        lambda f: write(f, cubins=[]),
        lambda f: write(f, entry={"sha256": "0"}),
        lambda f: write(f, entry={"file": "cubin/none"}),
        lambda f: write(f, entry={"log": "ptxas info    : (C7510) Potential Performance Loss"}),
        lambda f: (f / "cubin/sm_90a/k.cubin").write_bytes(b"the cubit"),
        lambda f: (f / "cubin/sm_90a/k.cubin").unlink(),
    ],
)
def test_what_does_not_hold_is_passed_over(root, damage):
    damage(root)
    assert Prebuilt.read(root).find(REQUEST) is None


def test_no_file_outside_of_the_artifact_is_read(root):
    (root.parent / "outside.cubin").write_bytes(b"the cubin")
    write(root, entry={"file": "../outside.cubin"})
    assert Prebuilt.read(root).find(REQUEST) is None

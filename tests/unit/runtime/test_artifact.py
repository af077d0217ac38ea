import dataclasses
import json

import pytest

import spak_runtime
from spak_runtime.errors import ALL, ArtifactError, ExpressionError, SpakRuntimeError, UnknownKernelError
from spak_runtime.manifest import Manifest
from tests.unit.runtime import hand_artifact
from tests.unit.runtime.code_fixtures import codes_of


def test_a_manifest_survives_its_file():
    manifest = hand_artifact.manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_loaded_artifact_says_what_it_holds(hand):
    assert hand.kernels == ("affine", "affine_gradient", "mean", "moments", "update")
    assert repr(hand) == "<artifact of hand.spak: affine, affine_gradient, mean, moments, update>"
    assert repr(hand.affine) == "<kernel affine: elementwise, 2 variants>"
    assert hand.affine is hand["affine"]


def test_the_same_content_may_be_loaded_twice(hand, tmp_path):
    again = spak_runtime.load(hand_artifact.write(tmp_path))
    assert again.digest == hand.digest
    assert again.affine.operator is hand.affine.operator
    changed = hand_artifact.HEADER + "// changed\n"
    other = spak_runtime.load(hand_artifact.write(tmp_path / "b", files={"include/spak/hand.cuh": changed}))
    assert other.affine.operator is not hand.affine.operator


def test_an_unknown_kernel_is_an_attribute_error_too(hand):
    with pytest.raises(UnknownKernelError):
        hand["cube"]
    assert not hasattr(hand, "cube")
    assert not hasattr(hand, "__wrapped__")


def changed_manifest(folder, change):
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    (folder / "manifest.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "manifest.json").unlink(), "holds no artifact: No such file"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: Expecting"),
        (lambda f: (f / "manifest.json").write_text("[" * 100_000), "manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{}"), "not a spak-artifact/1 manifest"),
        (lambda f: changed_manifest(f, lambda d: d.pop("kernels")), "manifest"),
        (lambda f: changed_manifest(f, lambda d: d.update(colour=1)), "unknown field colour"),
        (lambda f: (f / "kernels/affine/each.cu").unlink(), "kernels/affine/each.cu cannot be read"),
        (lambda f: (f / "kernels/affine/each.cu").write_bytes(b"\xff"), "each.cu cannot be read"),
        (lambda f: (f / "kernels/affine/math.py").unlink(), "kernels/affine/math.py cannot be read"),
        (
            lambda f: changed_manifest(f, lambda d: d["kernels"]["affine"].update(math="../math.py")),
            "'../math.py', which lies outside of the artifact",
        ),
        (
            lambda f: changed_manifest(f, lambda d: d["kernels"]["affine"].update(math="/etc/passwd")),
            "'/etc/passwd', which lies outside",
        ),
    ],
)
def test_a_damaged_artifact_is_told(tmp_path, damage, says):
    folder = hand_artifact.write(tmp_path / "artifact")
    damage(folder)
    with pytest.raises(ArtifactError, match=says):
        spak_runtime.load(folder)


def test_a_link_out_of_the_artifact_is_not_followed(tmp_path):
    folder = hand_artifact.write(tmp_path / "artifact")
    (tmp_path / "secret.cu").write_text("secret")
    source = folder / "kernels/affine/each.cu"
    source.unlink()
    source.symlink_to(tmp_path / "secret.cu")
    with pytest.raises(ArtifactError, match="lies outside"):
        spak_runtime.load(folder)


def test_malformed_expressions_and_mathematics(tmp_path):
    import torch

    manifest = hand_artifact.manifest()
    affine = manifest.kernels["affine"]
    shape = dataclasses.replace(affine.tensors[0], shape=(["rows", "x"], ["dim", "N"]))
    kernels = manifest.kernels | {"affine": dataclasses.replace(affine, tensors=(shape, *affine.tensors[1:]))}
    broken = dataclasses.replace(manifest, kernels=kernels)
    with pytest.raises(ExpressionError, match="affine, shape of x: unknown operation 'rows'"):
        spak_runtime.load(hand_artifact.write(tmp_path / "a", broken))
    for text, says in (
        ("x = 1\n", "has no function `forward`"),
        ("import nowhere\n", "does not load: No module named 'nowhere'"),
        ("def forward(**given): return {}\n", "yields no y"),
    ):
        files = {"kernels/affine/math.py": text}
        artifact = spak_runtime.load(hand_artifact.write(tmp_path / str(len(text)), files=files))
        with pytest.raises(ArtifactError, match=says):
            artifact.affine(torch.zeros(2, 8))


def test_every_error_has_a_code_of_its_own_and_an_entry():
    from spakc.diagnostics.codes import CODES

    codes = [error.code for error in ALL]
    assert len(set(codes)) == len(codes)
    assert set(codes) == {"SPAK705"} | {code for code in CODES if "SPAK740" <= code <= "SPAK779"}
    assert all(issubclass(error, SpakRuntimeError) for error in ALL)


@pytest.mark.parametrize("code", sorted(error.code for error in ALL))
def test_every_code_is_earned(code, tmp_path):
    assert codes_of(code, tmp_path) == [code]

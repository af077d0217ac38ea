"""Cubins of an artifact, built ahead with NVRTC: no GPU, no driver."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from spak_runtime.cache import KernelCache, digest
from spak_runtime.errors import BuildError
from spak_runtime.manifest import Manifest
from spak_runtime.nvrtc import version
from spak_runtime.specialise import bindings, build_request
from spakc.diagnostics import Sink


def build_cubins(files: Mapping[str, str], archs: Sequence[str]) -> dict[str, str | bytes]:
    """`cubin/<arch>/<kernel>.<variant>[.<n>].cubin` for the default specialisation of every variant and launch,
    and `cubin/index.json`: by digest (what the runtime looks for) the file,
    its checksum and the compiler's log.

    `files` are those of an artifact. Reports SPAK752 for a source that the device compiler refuses.
    """
    manifest = Manifest.from_json(files["manifest.json"])
    headers = {n.removeprefix("include/"): text for n, text in files.items() if n.startswith("include/")}
    compiler = "nvrtc " + ".".join(map(str, version()))
    cache, sink = KernelCache(), Sink()
    built: dict[str, str | bytes] = {}
    index = {}
    for kernel in manifest.kernels.values():
        for variant in kernel.variants:
            binding = next(bindings(kernel, variant))
            for arch in (a for a in archs if a in variant.archs):
                for number, launch in enumerate(variant.launches):
                    request = build_request(files, headers, variant, launch, binding, arch)
                    try:
                        compiled = cache.build(request)
                    except BuildError as error:
                        sink.report("SPAK752", str(error), None)
                        continue
                    suffix = f".{number}" if len(variant.launches) > 1 else ""
                    name = f"cubin/{arch}/{kernel.name}.{variant.id}{suffix}.cubin"
                    built[name] = compiled.cubin
                    checksum = hashlib.sha256(compiled.cubin).hexdigest()
                    index[digest(request, compiler)] = {"file": name, "sha256": checksum, "log": compiled.log}
    sink.stop_if_errors()
    built["cubin/index.json"] = (
        json.dumps({"schema": "spak-cubins/1", "compiler": compiler, "cubins": index}, indent=1, sort_keys=True) + "\n"
    )
    return built

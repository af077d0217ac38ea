"""Templates as the template engine compiled them, kept between runs: reading one takes a tenth of compiling it."""

from __future__ import annotations

import contextlib

import jinja2
from jinja2.bccache import Bucket

from spakc.resources import cache_folder, read_sealed, write_sealed


class TemplateCache(jinja2.BytecodeCache):
    """One file a template in the user's cache. The engine asks for those of its text and of this Python; each begins
    with a checksum, so that a damaged one is compiled again. A cache that cannot be read or written costs time and
    nothing else."""

    def __init__(self) -> None:
        self.folder = cache_folder() / f"templates-jinja-{jinja2.__version__}"

    def load_bytecode(self, bucket: Bucket) -> None:
        if (code := read_sealed(self.folder / bucket.key)) is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            write_sealed(self.folder / bucket.key, bucket.bytecode_to_string())

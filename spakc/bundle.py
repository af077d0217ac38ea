"""What is kept of an internal error, so that it can be reported and repeated."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from spakc import __version__


def save_bundle(error: BaseException, arguments: Sequence[str]) -> Path:
    """A new folder with the traceback, the command and the `.spak` files it names. Returns the folder."""
    folder = Path(tempfile.mkdtemp(prefix="spakc-internal-error-"))
    text = "".join(traceback.format_exception(error))
    (folder / "traceback.txt").write_text(text)
    (folder / "command.txt").write_text(
        f"spakc {' '.join(arguments)}\nspakc {__version__}\npython {sys.version}\n{platform.platform()}\n"
    )
    for argument in arguments:
        path = Path(argument)
        if path.suffix == ".spak" and path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder

"""Parts of the tool that need packages which not everybody wants."""

from __future__ import annotations

import importlib.util

from spakc.diagnostics import Sink


def needs_extra(extra: str, *packages: str) -> None:
    """Raises SpakError with SPAK709 if a package of an extra is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        sink = Sink()
        sink.report(
            "SPAK709",
            f"this command needs the package `{missing[0]}`",
            None,
            help=(f"install it with `pip install 'spakc[{extra}]'`",),
        )
        sink.stop_if_errors()

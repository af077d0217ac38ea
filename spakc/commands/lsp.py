"""`spakc lsp`: the Language Server Protocol over standard input and output."""

from __future__ import annotations

from spakc.extras import needs_extra


def run() -> int:
    """Serves until the editor goes."""
    needs_extra("lsp", "pygls")
    from spakc.lsp.features import make_server

    make_server().start_io()
    return 0

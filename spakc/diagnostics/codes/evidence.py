"""SPAK9xx."""

from spakc.diagnostics.codes.entry import Code

TABLE: tuple[Code, ...] = ()

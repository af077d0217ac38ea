"""The code table: every diagnostic the tool can give. One mistake, one code, one entry, one fixture.

0xx files · 1xx syntax and names · 2xx laws and space · 3xx types, shapes, units
4xx mathematics and families · 5xx models, data, protocols, experiments, claims · 6xx roles
7xx building, running, devices · 8xx verification · 9xx artifacts, evidence
"""

from spakc.diagnostics.codes import (
    build,
    evidence,
    files,
    laws,
    maths,
    models,
    names,
    roles,
    types,
    verification,
)
from spakc.diagnostics.codes.entry import Code

CODES: dict[str, Code] = {
    code.id: code
    for table in (files, names, laws, types, maths, models, roles, build, verification, evidence)
    for code in table.TABLE
}

__all__ = ["CODES", "Code"]

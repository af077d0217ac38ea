"""One case of a verification: everything that decides what is run, small enough to be passed on as a word."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from spak_runtime.emulator.call import SMS
from spakc.record import record

Value = bool | int | float | str

MODES = ("late", "eager", "random")
"""When asynchronous copies land on the emulator: as late as they may, at once, or at random moments."""

VALUES = ("normal", "uniform", "integers")
"""What the elements of floating-point tensors are: N(0, 1), U(-1, 1), or whole numbers from -3 to 3."""

MOST_SMS = 1024

_PREFIX = "v1."
MAX_TOKEN = 8192


class BadToken(ValueError):
    """A replay token that is no case."""


@record
class Case:
    """A call of one variant, and how it is run.

    `dtypes` and `layouts` cover every tensor of the kernel, `dims` and `options` every dim and option.
    `pads` are the elements between the rows of a tensor (columns, where it lies that way) and `offsets`
    those before its first; a tensor that is not named has none. `data` is the seed of the values, `seed`
    and `mode` that of the order in which the emulator runs threads and lets copies land, `contract` whether
    products and sums are fused. `again` runs it in another order, too, and wants the same bits, or where
    the variant adds in any order, results that are right as well. `sms` are the multiprocessors of the emulated device:
    the fewer, the more tiles each of the blocks computes that stay.
    """

    kernel: str
    variant: str
    dims: Mapping[str, int]
    dtypes: Mapping[str, str]
    layouts: Mapping[str, str]
    options: Mapping[str, Value]
    absent: tuple[str, ...] = ()
    pads: Mapping[str, int] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    values: str = "integers"
    data: int = 0
    seed: int = 0
    mode: str = "late"
    contract: bool = True
    again: bool = False
    sms: int = SMS

    @property
    def token(self) -> str:
        """The case as one word for `--replay`."""
        text = json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)
        return _PREFIX + base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")

    def __str__(self) -> str:
        """In words: what a reader wants to know first."""
        parts = [f"{name} = {size}" for name, size in self.dims.items()]
        parts += [f"{name}: {word}" for name, word in self.dtypes.items()]
        parts += [f"{name} {word}" for name, word in self.layouts.items() if word != "row"]
        parts += [f"{name} + {pad} between rows" for name, pad in self.pads.items() if pad]
        parts += [f"{name} at element {offset}" for name, offset in self.offsets.items() if offset]
        parts += [f"{name} = {_show(value)}" for name, value in self.options.items()]
        parts += [f"without {name}" for name in self.absent]
        parts += [f"{self.sms} multiprocessors"] if self.sms != SMS else []
        run = f"{self.values} (data {self.data}), order {self.seed} {self.mode}"
        return ", ".join([*parts, run, "fused" if self.contract else "not fused"])


def case_of(token: str) -> Case:
    """The case that a token stands for. Raises BadToken; a token is data, and whoever wrote it is not
    trusted."""
    if not token.startswith(_PREFIX) or len(token) > MAX_TOKEN:
        raise BadToken(f"it does not begin with `{_PREFIX}`, or is longer than {MAX_TOKEN} letters")
    body = token.removeprefix(_PREFIX)
    try:
        packed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        inflater = zlib.decompressobj()
        text = inflater.decompress(packed, 1 << 20)
        if not inflater.eof:
            raise BadToken("it was cut off")
        data = json.loads(text)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise BadToken("it is damaged: copy the whole word") from None
    if isinstance(data, dict):
        data.setdefault("sms", SMS)  # tokens from before cases had devices
    if not isinstance(data, dict) or data.keys() != Case.__dataclass_fields__.keys():
        raise BadToken("it was made by another version")
    if not _is_sound(data):
        raise BadToken("its fields are not those of a case")
    return Case(**{**data, "absent": tuple(data["absent"])})


def _is_sound(data: Mapping[str, Any]) -> bool:
    def table(name: str, kinds: type | tuple[type, ...]) -> bool:
        return isinstance(data[name], dict) and all(type(v) in _kinds(kinds) for v in data[name].values())

    return (
        all(isinstance(data[name], str) for name in ("kernel", "variant", "values", "mode"))
        and all(table(name, int) for name in ("dims", "pads", "offsets"))
        and all(table(name, str) for name in ("dtypes", "layouts"))
        and table("options", (bool, int, float, str))
        and all(0 <= n < 1 << 20 for name in ("dims", "pads", "offsets") for n in data[name].values())
        and isinstance(data["absent"], list)
        and all(isinstance(name, str) for name in data["absent"])
        and all(type(data[name]) is int and 0 <= data[name] < 1 << 32 for name in ("data", "seed"))
        and type(data["sms"]) is int
        and 0 < data["sms"] <= MOST_SMS
        and all(type(data[name]) is bool for name in ("contract", "again"))
        and data["mode"] in MODES
        and data["values"] in VALUES
    )


def _kinds(kinds: type | tuple[type, ...]) -> tuple[type, ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _show(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)

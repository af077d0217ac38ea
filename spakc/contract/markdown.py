"""The contract as a page to read: the same facts as the data, nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

_TEMPLATES = (
    "the compiler chooses among its templates, and all they can do is lawful (`spakc compile --emit plan`)"
)


def render(data: dict[str, Any]) -> str:
    """The page of a contract, in Markdown."""
    lines = [f"# Contract of {data['file']} for the {data['role']}", ""]
    lines += [f"Targets: {', '.join(data['targets']) or 'none'}.", ""]
    for name, owns in data["roles"].items():
        lines += [f"* {name} owns {', '.join(owns)}"]
    lines += _devices(data["devices"])
    lines += ["", *_levers(data["levers"])]
    lines += _lets(data["lets"])
    if data["role"] == "architect":
        lines += _findings(data)
    known = _by_id(data["statements"])
    for kernel in data["kernels"]:
        lines += _kernel(kernel, known)
    lines += _claims(data["claims"])
    return "\n".join(lines).rstrip() + "\n"


def _by_id(statements: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    table: dict[str, list[dict[str, Any]]] = {}
    for row in statements:
        if row["applicable"]:
            table.setdefault(row["statement"], []).append(row)
    return table


def _levers(levers: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Yours to change"
    yield ""
    if not levers:
        yield "Nothing: the file gives this role no statement that is written in it."
    for lever in levers:
        yield f"* `{lever['text']}` ({lever['file']}:{lever['line']})"
    yield ""


def _kernel(kernel: dict[str, Any], known: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield f"## Kernel {kernel['name']}: {kernel['family']}"
    yield ""
    if kernel["intent"]:
        yield f"> {kernel['intent']}"
        yield ""
    yield "```"
    yield from kernel["signature"]
    yield f"math {{ {'  '.join(kernel['math'])} }}"
    yield f"accumulate {kernel['accumulate']}"
    yield from (f"gradient {gradient}" for gradient in kernel["gradients"])
    yield "```"
    yield ""
    checks = kernel["verification"]
    if checks is None:
        yield "Verification: nothing is said, so 50 cases within the tool's own tolerance."
    else:
        yield f"Verification demands {checks['cases'] or 50} cases of every variant"
        yield f"within `{checks['tolerance'] or 'the default tolerance'}`,"
        shapes = ", ".join(checks["shapes"])
        yield f"values {', '.join(checks['values']) or 'of every kind'}, shapes {shapes or 'of every size'}."
    yield ""
    yield from _lets(kernel["lets"])
    yield from _laws(kernel["laws"], known)
    if not kernel["schedules"]:
        yield f"No schedule is written: {_TEMPLATES}."
        yield ""
    for schedule in kernel["schedules"]:
        yield from _schedule(schedule, known)


def _devices(devices: list[dict[str, Any]]) -> Iterator[str]:
    """What the file asks of devices, and what they have."""
    for device in devices:
        facts = ", ".join(f"{name} = {_shown(value)}" for name, value in device["facts"].items())
        yield f"* {device['device']}: {facts}"


def _lets(lets: list[dict[str, Any]]) -> Iterator[str]:
    for let in lets:
        said = (
            ""
            if let["value"] is None or _shown(let["value"]) == let["text"]
            else f" = {_shown(let['value'])}"
        )
        reach = "; ".join(
            f"{_shown(each['least'])} to {_shown(each['most'])}"
            + (f" on {each['target']}" if each["target"] else "")
            for each in let["reach"]
        )
        yield f"* let `{let['name']} = {let['text']}`{said}" + (
            f": {reach} at lawful points" if reach else ""
        )
    if lets:
        yield ""


def _laws(names: list[str], known: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    rows = [row for name in names for row in known.get(f"law {name}", ())]
    if not rows:
        return
    yield "| law | says | on | verdict | means | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        said = f"`{row['text']}`", _verdict(row), row["means"], row["note"]
        alike.setdefault((row["statement"].removeprefix("law "), *said), []).append(row["target"])
    for (name, says, verdict, means, note), targets in alike.items():
        on = ", ".join(target for target in targets if target)
        yield f"| {' | '.join(map(_cell, (name, says, on, verdict, means, note)))} |"
    yield ""


def _verdict(row: dict[str, Any]) -> str:
    return str(row["verdict"]) + ("" if row["fresh"] else ", stale")


def _schedule(schedule: dict[str, Any], known: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    like = f" like {schedule['like']}" if schedule["like"] else ""
    needs = f", needs {', '.join(schedule['needs'])}" if schedule["needs"] else ""
    yield f"### Schedule {schedule['name']}{like}{needs}"
    yield ""
    for space in schedule["spaces"]:
        on = f" on {space['target']}" if space["target"] else ""
        yield f"* {space['lawful']:,} of {space['points']:,} points are lawful{on}: " + "; ".join(
            f"{name} in {{{', '.join(map(_shown, values))}}}" for name, values in space["values"].items()
        )
    for config in schedule["configs"]:
        on = f" on {', '.join(config['on'])}" if config["on"] else ""
        values = ", ".join(f"{key} = {_shown(value)}" for key, value in config["values"].items())
        yield f"* config {config['name']}{on}: {values}"
    yield from (f"* prefer {prefer}" for prefer in schedule["prefers"])
    yield ""
    yield from _lets(schedule["lets"])
    yield from _laws(schedule["laws"], known)


def _claims(claims: list[dict[str, Any]]) -> Iterator[str]:
    if not claims:
        return
    yield "## Claims"
    yield ""
    yield "| claim | demands | on | verdict | means | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for claim in claims:
        demands = f"`{claim['demands']}`"
        demands += f" with confidence {claim['confidence']:.0%}" if claim["confidence"] is not None else ""
        demands += f" for every {'; '.join(claim['for_every'])}" if claim["for_every"] else ""
        name = claim["statement"].removeprefix("claim ")
        cells = [name, demands, claim["target"], _verdict(claim), claim["means"], claim["note"]]
        yield f"| {' | '.join(map(_cell, cells))} |"


def _findings(data: dict[str, Any]) -> Iterator[str]:
    yield "## What the laws do"
    yield ""
    if not data["cuts"]:
        yield f"Nothing: the file has no schedule, so that {_TEMPLATES}."
    for row in data["cuts"]:
        on = f" on {row['target']}" if row["target"] else ""
        laws = [f"{c['law']} cuts {c['alone'] + c['among']:,} ({c['alone']:,} alone)" for c in row["laws"]]
        yield f"* {row['schedule']}{on}: {row['lawful']:,} of {row['points']:,} lawful; {'; '.join(laws) or 'no law'}"
    yield ""
    yield from _list("Cut nothing", [f"law {name}" for name in data["idle"]])
    yield from _list(
        "Leave nothing together",
        [f"{_at(r)}, {r['problem']}: {', '.join(r['laws'])}" for r in data["conflicts"]],
    )
    yield from _list(
        "Can never be chosen",
        [f"{_at(r)}: {r['knob']} in {{{', '.join(map(_shown, r['values']))}}}" for r in data["unreachable"]],
    )
    yield from _list("Violated", [_short(r) for r in data["violated"]])
    yield from _list("Stale", [f"{_short(r)} ({'; '.join(r['because'])})" for r in data["stale"]])
    yield from _list("Open", [_short(r) for r in data["undecided"]])
    for verdict, title in PREFERENCES.items():
        yield from _list(title, [_preference(r) for r in data["prefers"] if r["verdict"] == verdict])
    yield from _list("Only prose", [f"{r['statement']}: {r['text']}" for r in data["prose"]])


PREFERENCES = {
    "contradicted": "Preferences that times contradict",
    "supported": "Preferences that times support",
    "undecided": "Preferences that rank only: no times decide",
}


def _preference(row: dict[str, Any]) -> str:
    """What is preferred, and the times that decide."""
    decided = [each for each in row["measured"] if each["verdict"] == row["verdict"] != "undecided"]
    return f"{row['statement']}: `{row['text']}`" + "".join(f"; {_weighed(each)}" for each in decided)


def _weighed(each: dict[str, Any]) -> str:
    call = ", ".join(f"{name} = {size}" for name, size in each["call"]["dims"].items())
    having, lacking = each["with"], each["without"]
    config = " ".join(f"{name}={_shown(value)}" for name, value in lacking["config"].items())
    seconds = (
        f"{having['seconds'] * 1e6:.1f} us with it, {lacking['seconds'] * 1e6:.1f} us without ({config})"
    )
    return f"at {call} on {each['device']} {seconds}"


def _at(row: dict[str, Any]) -> str:
    return str(row["schedule"]) + (f" on {row['target']}" if row["target"] else "")


def _short(row: dict[str, Any]) -> str:
    on = f" on {row['target']}" if row["target"] else ""
    note = f": {row['note']}" if row["note"] else ""
    return f"{row['statement']}{on} ({row['means']}){note}"


def _list(title: str, rows: list[str]) -> Iterator[str]:
    if rows:
        yield f"## {title}"
        yield ""
        yield from (f"* {' '.join(row.split())}" for row in rows)
        yield ""


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

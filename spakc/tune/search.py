"""Which configs to time next. A function of what is modelled and what was timed, so that a search that was broken off
goes on where it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spakc.ir.constraint import Env, evaluate
from spakc.plan.launch import Config
from spakc.plan.template import KnobValue
from spakc.tune.funnel import Funnel, Modelled, key_of

MOST = 40
"""Timings for one call, besides the configs that the file names."""

SHARE = 0.6
"""Of them, those that the model chooses; the others are neighbours of what was fastest."""

SIDES = 2
"""Configs on either side of a `prefer`, so that there is something to compare."""

BEST = 3
"""How many of the fastest have their neighbours timed."""

DEPTHS = ("stages",)
"""Knobs whose values differ little: one value of each is enough for a first look."""

Timed = Mapping[str, float | None]
"""Seconds by the key of the config; None where it failed."""


def next_batch(funnel: Funnel, timed: Timed, most: int = MOST) -> list[Config]:
    """The configs to time now: first what the file names and the model puts first, then neighbours of the fastest.
    Empty when the search is over."""
    named = [each.config for each in funnel.ranked if each.named]
    first = [*named, *_first(funnel, int(most * SHARE))]
    missing = _distinct(config for config in first if key_of(config) not in timed)
    if missing:
        return missing
    left = most - sum(key_of(each.config) in timed for each in funnel.ranked if not each.named)
    return _distinct(c for c in _neighbours(funnel, timed) if key_of(c) not in timed)[: max(0, left)]


def correlation(funnel: Funnel, timed: Timed) -> float | None:
    """Spearman's rank correlation of model and clock over the timed configs; None from fewer than three."""
    pairs = [(m.seconds, s) for m in funnel.ranked if (s := timed.get(key_of(m.config))) is not None]
    if len(pairs) < 3:
        return None
    ranks = [_ranks([pair[side] for pair in pairs]) for side in (0, 1)]
    mean = (len(pairs) - 1) / 2
    covariance = sum((a - mean) * (b - mean) for a, b in zip(*ranks, strict=True))
    spread = [sum((a - mean) ** 2 for a in side) for side in ranks]
    product = (spread[0] * spread[1]) ** 0.5
    return float(covariance / product) if product else None


def _first(funnel: Funnel, most: int) -> list[Config]:
    chosen: dict[tuple[tuple[str, KnobValue], ...], Modelled] = {}
    for each in funnel.ranked:
        alike = tuple((n, v) for n, v in sorted(each.config.items()) if n not in DEPTHS)
        chosen.setdefault(alike, each)
    ordered = list(chosen.values())
    found = ordered[:most]
    for prefer in funnel.prefers:
        for side in (True, False):
            fitting = (e for e in ordered if evaluate(prefer.proposition, Env().knobs(e.config)) is side)
            found += [each for each, _ in zip(fitting, range(SIDES), strict=False)]
    return [each.config for each in found]


def _neighbours(funnel: Funnel, timed: Timed) -> Iterator[Config]:
    """Configs that differ from one of the fastest in one knob, by one step; the model's best first."""
    free = {knob.name for knob in funnel.template.knobs if knob.at_launch}
    built = {key_of(_without(each.config, free)): each for each in funnel.ranked}
    values = _values(funnel)
    configs = {key_of(each.config): each.config for each in _with_free(funnel, free, values)}
    known = [(s, key) for key, s in timed.items() if s is not None and key in configs]
    around: list[tuple[float, str, Config]] = []
    for seconds, key in sorted(known)[:BEST]:
        for name, ordered in values.items():
            at = ordered.index(configs[key][name])
            for near in {max(0, at - 1), min(len(ordered) - 1, at + 1)} - {at}:
                config: Config = {**configs[key], name: ordered[near]}
                model = built.get(key_of(_without(config, free)))
                if model is not None:
                    around.append((seconds if name in free else model.seconds, key_of(config), config))
    for _, _, config in sorted(around, key=lambda each: each[:2]):
        yield config


def _with_free(
    funnel: Funnel, free: set[str], values: Mapping[str, Sequence[KnobValue]]
) -> Iterator[Modelled]:
    """Every config, with each value of each knob that is chosen at launch."""
    for each in funnel.ranked:
        yield each
        for name in free:
            for value in values[name]:
                yield Modelled({**each.config, name: value}, each.seconds, each.limit)


def _values(funnel: Funnel) -> dict[str, list[KnobValue]]:
    """The values of each knob, in order: of knobs at launch all that the schedule lists."""
    found: dict[str, set[KnobValue]] = {}
    for each in funnel.ranked:
        for name, value in each.config.items():
            found.setdefault(name, set()).add(value)
    for name, listed in funnel.free.items():
        found.setdefault(name, set()).update(listed)
    return {name: sorted(values, key=lambda v: (isinstance(v, str), v)) for name, values in found.items()}


def _without(config: Config, names: set[str]) -> Config:
    return {name: value for name, value in config.items() if name not in names}


def _distinct(configs: Iterator[Config]) -> list[Config]:
    return list({key_of(config): config for config in configs}.values())


def _ranks(values: Sequence[float]) -> list[float]:
    """Places in ascending order; equals share the mean of theirs."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for i in order[start : end + 1]:
            ranks[i] = (start + end) / 2
        start = end + 1
    return ranks

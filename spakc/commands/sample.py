"""`spakc sample FILE`: text from a model that `spakc run` has trained."""

from __future__ import annotations

import json
from pathlib import Path

import click

from spakc import driver
from spakc.cli import DIAGNOSTICS, OK, show
from spakc.commands.compile import default_output
from spakc.commands.run import experiments_of, profile_of, run_folder
from spakc.diagnostics import Diagnostic
from spakc.record import record


@record
class Request:
    """What is to be written, by which run: `trained` is the seed of its training, `point` that of a sweep."""

    file: Path
    experiment: str | None
    prompts: tuple[str, ...]
    tokens: int
    temperature: float
    top_k: int | None
    seed: int
    checkpoint: Path | None
    profile: str | None
    point: str
    trained: int | None
    output: Path | None
    as_json: bool


def run(request: Request) -> int:
    """Prints each prompt with what follows it. Exit 1 where there is no checkpoint."""
    from spak_runtime.training.sample import Sampling, sample_experiment

    checked = driver.check_file(request.file)
    show(checked.sink.diagnostics, request.as_json)
    wanted = (request.experiment,) if request.experiment else ()
    name = experiments_of(checked.module.module, wanted)[0]
    profile = profile_of(checked, [name], request.profile, lambda line: click.echo(line, err=True))
    files = driver.emit_files(driver.plan_file(checked))
    out = request.output or default_output(request.file)
    driver.write_artifact(files, out / "artifact")
    seed = _seed(json.loads(files[f"models/{name}/experiment.json"]), profile, request)
    weights = request.checkpoint or _weights(run_folder(out, name, profile, request.point, seed))
    if weights is None:
        under = f" under profile `{profile}`" if profile else ""
        message = f"experiment `{name}` has no checkpoint{under} in {out}: train it with `spakc run` first"
        show([Diagnostic("SPAK562", message)], request.as_json)
        return DIAGNOSTICS
    texts = sample_experiment(
        out / "artifact" / "models" / name,
        weights,
        list(request.prompts),
        Sampling(request.tokens, request.temperature, request.top_k, request.seed),
        profile=profile,
        point=request.point,
        base=request.file.parent,
    )
    for prompt, text in zip(request.prompts, texts, strict=True):
        if request.as_json:
            click.echo(json.dumps({"schema": "spak-sample/1", "prompt": prompt, "text": text}))
        else:
            click.echo(prompt + text)
    return OK


def _seed(described: dict[str, object], profile: str | None, request: Request) -> int:
    """The training seed asked for, else the first of the file."""
    if request.trained is not None:
        return request.trained
    settings = described["settings"]
    assert isinstance(settings, dict)
    points = {point["label"]: point for point in settings[profile or "default"]}
    return int((points.get(request.point, {}).get("train", {}).get("seeds") or [0])[0])


def _weights(folder: Path) -> Path | None:
    """The weights of a finished run, else those of one under way."""
    for name in ("model.safetensors", "checkpoint.safetensors"):
        if (folder / name).is_file():
            return folder / name
    return None

"""The command that repeats a run, from what its folder holds."""

import shlex
from typing import Any

from polystep_snn.datasets import NAMES
from polystep_snn.datasets.own.paths import looks_like_path
from polystep_snn.files import read_json
from polystep_snn.trained_networks import CARD, folder_of
from polystep_snn.training.config import OPTIONS, TrainConfig
from polystep_snn.training.opened_run import OpenedRun
from polystep_snn.training.recipes import on_chip_recipe, own_recipe, recipe
from polystep_snn.training.run_folder import RunFolder

# By these a recipe is chosen.
_CHOOSING = ("neuron", "space", "encoder", "hidden")
# Training sets on both sides of every size that recipes tell apart.
_FEW, _MANY = 1, 10**9


def command_of(run: OpenedRun) -> str:
    """A command line that makes a run like this one, or Python where its data was given from Python."""
    folder = RunFolder(folder_of(run.path))
    if (folder.path / CARD).is_file():
        return f"{read_json(folder.path / CARD)['command']} --out RUN"
    config = TrainConfig.from_json(read_json(folder.config))
    summary = read_json(folder.summary) if folder.summary.is_file() else {}
    if "shift" in summary:
        return _adapting(summary)
    name = config.data.dataset
    if name not in NAMES and not looks_like_path(name) and not (run.record is not None and run.record.path):
        options = {n: v for n, v in config.options().items() if n in OPTIONS and v != OPTIONS[n].default}
        given = "".join(f", {n}={v!r}" for n, v in options.items())
        return f"Trainer(TrainConfig({name!r}{given}), 'RUN', dataset).fit()"
    if "rule" in summary:
        return _line("train", name, "--on-chip", "--backend", summary["backend"], *_limit(summary), *_on_chip(config), "--out", "RUN")
    return _line("train", name, *flags(given_options(config)), "--out", "RUN")


def given_options(config: TrainConfig) -> dict[str, Any]:
    """Options of ``polystep-snn train`` that differ from what it chooses for this data, by name."""
    options = {name: value for name, value in config.options().items() if name in OPTIONS}
    defaults = {name: option.default for name, option in OPTIONS.items()}
    given = {name: options[name] for name in _CHOOSING if options[name] != defaults[name]}
    for owner in (None,) if config.data.dataset in NAMES else (_own(config, _FEW), _own(config, _MANY)):
        chosen = recipe(
            *(config.data.dataset, given.get("neuron", "lif"), given.get("space", "node"), given.get("encoder"), given.get("hidden", ())),
            own=owner,
        )
        given |= {name: value for name, value in options.items() if value != {**defaults, **chosen}[name]}
    if config.data.dataset not in NAMES:
        # The path tells the kind, but not for how long recordings are looked at.
        given.pop("kind", None)
        if config.data.holds_events:
            given["window_us"] = config.data.window_us
    return {name: given[name] for name in options if name in given}


def _own(config: TrainConfig, num_train: int) -> dict[str, Any]:
    kind = config.data.kind or "images"
    return {**own_recipe(kind, num_train, (config.data.num_steps,)), "kind": kind}


def flags(options: dict[str, Any]) -> list[str]:
    """Options as they stand on the command line."""
    words: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return words


def _on_chip(config: TrainConfig) -> list[str]:
    given: dict[str, Any] = {}
    for owner in (None,) if config.data.dataset in NAMES else (_own(config, _FEW), _own(config, _MANY)):
        chosen = {name: option.default for name, option in OPTIONS.items()} | on_chip_recipe(config.data.dataset, owner)
        given |= {name: value for name, value in config.options().items() if name in OPTIONS and value != chosen[name]}
    return flags(given)


def _adapting(summary: dict[str, Any]) -> str:
    rule, stream = summary.get("learning", summary["rule"]), summary.get("stream", summary)
    words = ["--shift", summary["shift"], "--writable", *rule["writable"], "--backend", summary["backend"], "--samples", stream["samples"]]
    if "given_labels" in summary:
        words += ["--labels", summary["given_labels"], "--every", summary["rule"]["window"]]
        # Of a run from before there were any it is left out: they are learned from by default now.
        if summary["labels"] and not summary.get("self_labels"):
            words.append("--no-self-labels")
    else:
        words += ["--held-out", stream["held_out"], "--round-size", stream["round_size"]]
        words += ["--replay", stream["replay"], "--labelled", stream["labelled"]]
    words += ["--batch-size", rule["batch_size"], "--rate", rule["rate"], "--readout-rate", rule["readout_rate"]]
    words += ["--radius", rule["radius"], "--seed", stream["seed"]]
    return _line("adapt", summary.get("run", "RUN"), *words, *_limit(summary), "--out", "RUN2")


def _limit(summary: dict[str, Any]) -> list[str]:
    return [] if summary.get("limit") is None else ["--limit", str(summary["limit"])]


def _line(*words: Any) -> str:
    return shlex.join(["polystep-snn", *map(str, words)])

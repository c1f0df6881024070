"""Everything there is to say of a run, as a web page in one file."""

import platform
from typing import Any

import numpy as np
import torch

import polystep_snn
from polystep_snn import plots
from polystep_snn.datasets.own.record import record_of
from polystep_snn.errors import InputError
from polystep_snn.files import read_json
from polystep_snn.hardware.chip_cost import CostMeter
from polystep_snn.trained_networks import folder_of
from polystep_snn.training.activity import answers_to_test_part, history_of, in_their_units
from polystep_snn.training.answers import Answers
from polystep_snn.training.command import command_of
from polystep_snn.training.config import GROUPS, OPTIONS, TrainConfig, options_of
from polystep_snn.training.deploy import deploy, encoded_test_set
from polystep_snn.training.figures import cost_figure, figures_of, r2_of, shows_pictures
from polystep_snn.training.opened_run import OpenedRun
from polystep_snn.training.run_folder import RunFolder
from polystep_snn.training.scores import scores_of
from polystep_snn.web_page import drawing, folded, heading, page, paragraph, preformatted, table

# Rows of a table that is not folded.
_MOST_ROWS = 12
# Test samples on which the chip's work is counted.
_COUNTED = 200


def report_of(run: OpenedRun, sample: int = 0) -> str:
    """The page; see ``web_page.py`` for what it needs, which is nothing.

    Args:
        run: what is told of; its data is read.
        sample: number of the test sample whose spikes are drawn.

    Raises:
        InputError: data that is not there, or that the network is not for.
    """
    folder = RunFolder(folder_of(run.path))
    config, summary = TrainConfig.from_json(read_json(folder.config)), read_json(folder.summary) if folder.summary.is_file() else {}
    answered, backend = answers_to_test_part(run)
    scores = scores_of(answered.found, answered.labels, run.dataset.num_classes, None if run.record is None else run.record.targets)
    figures = figures_of(run, sample, answered)
    drawn = {name: drawing(figure, _WORDS[name].format(sample=sample), _pictured(name, run)) for name, figure in figures.items()}
    sections = {
        "Data": _data(run),
        "Scores": _scores(run, scores, answered, backend) + drawn.get("confusion", drawn.get("answers", "")),
        "Learning on the chip": _learned(summary),
        "Curves": drawn.get("curves", "") + _epochs(history_of(run)),
        "Activity": drawn["activity"],
        "Firing rates": drawn.get("rates", ""),
        "Cost on the chip": cost_section(run),
        "Configuration": _configuration(config),
        "How to repeat it": _repeat(run, config, summary),
    }
    network = "-".join(map(str, _sizes(run)))
    about = f"{run.dataset.title} · {network} · {run.config.data.total_steps} steps · {_encoding(run)} · neuron {run.config.network.neuron}"
    return page(folder.path.resolve().name, about, _glance(run, scores), sections)


_WORDS = {
    "curves": "Loss and score of every epoch; the dotted line is at the epoch whose weights were kept.",
    "activity": "Test sample {sample}: what goes in, the spikes of the first hidden layer, one of its membranes, and the readout.",
    "rates": "How often the hidden neurons fire, over up to 1000 test samples.",
    "confusion": "True classes against decisions on the test part. What is right is left pale.",
    "answers": "Answers against real targets of the test part, and what is between them.",
}


def _pictured(name: str, run: OpenedRun) -> bool:
    return name == "activity" and shows_pictures(run)


def _glance(run: OpenedRun, scores: dict[str, Any]) -> dict[str, str]:
    name = f"val_{run.config.method.score}"
    if run.dataset.holds_values:
        found = {"test R²": f"{scores['test_r2']:.4f}", "test MSE": f"{scores['test_mse']:.4g}", "validation R²": f"{run.best[name]:.4f}"}
    else:
        found = {"test accuracy": f"{scores['test_accuracy']:.2%}", "balanced accuracy": f"{scores['test_balanced_accuracy']:.2%}"}
        found |= {"validation accuracy": f"{run.best[name]:.2%}"}
    return {**found, "test samples": f"{len(run.dataset.test):,}", "weights of epoch": str(run.best["epoch"])}


def _encoding(run: OpenedRun) -> str:
    encoder = run.config.data.encoder
    return f"{encoder} as they are" if encoder == "events" else "sequences as they are" if encoder == "sequence" else f"{encoder} input"


def _sizes(run: OpenedRun) -> list[int]:
    if run.latent is not None:
        return run.latent.sizes
    return run.integers.sizes if run.integers is not None else []


def _data(run: OpenedRun) -> str:
    dataset = run.dataset
    record = run.record or record_of(dataset)
    parts = (dataset.train, dataset.validation, dataset.test)
    names = [plots.shortened(name, 40) for name in run.classes[:_MOST_ROWS]] + (["…"] if len(run.classes) > _MOST_ROWS else [])
    rows: list[tuple[str, Any]] = [("name", dataset.name)]
    if record.path not in ("", dataset.name):
        rows.append(("path", record.path))
    rows += [
        ("kind", run.kind),
        ("a sample", " x ".join(map(str, dataset.train.shape))),
        ("training, validation, test samples", ", ".join(f"{len(part):,}" for part in parts)),
        ("values of a target" if dataset.holds_values else "classes", f"{dataset.num_classes}: {', '.join(names)}"),
    ]
    rows.append(("fingerprint", record.fingerprint))
    if record.scaling is not None:
        low, high = (", ".join(f"{v:.4g}" for v in values[:4]) for values in (record.scaling.low, record.scaling.high))
        rows.append(("0 and 1 stand for", f"{low} and {high}" + (" …" if len(record.scaling.low) > 4 else "")))
    rows += [(name, text) for name, text in (("note", dataset.note), ("left out", dataset.dropped)) if text]
    return table(rows)


def _scores(run: OpenedRun, scores: dict[str, Any], answered: Answers, backend: str) -> str:
    where = paragraph(f"Computed from the test part for this page, on {backend}, with the weights of epoch {run.best['epoch']}.", soft=True)
    if run.dataset.holds_values:
        targets, said = in_their_units(run, answered.labels), answered.scores
        rows = []
        for k, name in enumerate(run.classes):
            own, theirs = targets[:, k], said[:, k]
            r2 = r2_of(own, theirs)
            rows.append((name, *map(_number, (float(np.square(theirs - own).mean()), r2, float(own.mean()), float(own.std())))))
        found = table(rows, ("value", "MSE", "R²", "mean of the targets", "their spread"), numbers=True)
    else:
        counts = np.array(scores["test_confusion"])
        right, true, decided = np.diag(counts), counts.sum(1), counts.sum(0)
        rows = [(name, true[k], right[k], _share(right[k], true[k]), _share(right[k], decided[k])) for k, name in enumerate(run.classes)]
        found = table(rows, ("class", "samples", "right", "of its samples", "of decisions for it"), numbers=True)
    return where + (found if len(rows) <= _MOST_ROWS else folded(f"all {len(rows)}", found))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _learned(summary: dict[str, Any]) -> str:
    """Of a network that has learned on the chip."""
    if "rule" not in summary:
        return ""
    found = ""
    if "shift" in summary:
        rows = [(n, *(f"{summary[f'{n}_accuracy_{when}']:.2%}" for when in ("before", "after"))) for n in ("shifted", "clean")]
        words = f"It has adapted to a stream under {summary['shift']}."
        found = paragraph(words) + table(rows, ("test part", "accuracy before", "after"), numbers=True)
    plain = {name: value for name, value in summary.items() if isinstance(value, int | float | str) and "accuracy" not in name}
    details = table([*plain.items(), *(row for group in ("rule", "learning", "stream") for row in _worded(summary, group))])
    return found + folded("how", details)


def _worded(summary: dict[str, Any], group: str) -> list[tuple[str, str]]:
    return [(f"{group}: {name.replace('_', ' ')}", _shown(value)) for name, value in summary.get(group, {}).items()]


def _epochs(history: list[dict[str, Any]]) -> str:
    if len(history) < 2:
        return ""
    head = list(dict.fromkeys(name for metrics in history for name in metrics))
    rows = [[_number(metrics.get(name, "")) for name in head] for metrics in history]
    return folded(f"all {len(rows)} epochs", table(rows, [name.replace("_", " ") for name in head], numbers=True))


def _number(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_number, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cost_section(run: OpenedRun) -> str:
    """What an inference costs the chip, counted on some test samples; or why it cannot be there."""
    try:
        deployed = deploy(run)
        meter = CostMeter(deployed.integers)
    except InputError as error:
        return paragraph(f"Not counted: {error}.")
    for spikes, _ in encoded_test_set(run, _COUNTED):
        meter.run(spikes.cpu().numpy())
    cost = meter.cost()
    names = ("neurons", "spikes", "synaptic_operations", "dense_operations", "active_updates", "cores", "energy_nj")
    rows = [(layer.name, *(_counted(getattr(layer, name)) for name in names)) for layer in cost.layers]
    rows.append(("total", *(_counted(cost.total(name)) for name in names)))
    head = ("", "neurons", "spikes", "synaptic operations", "if dense", "active updates", "cores", "energy (nJ)")
    words = (
        f"Of a sample of {cost.num_steps} steps, on average over {cost.samples:,} of the test part. Spikes and operations are counted as "
        f"NeuroBench counts. Energy, {cost.total('energy_nj'):,.2f} nJ in all, and latency, {cost.latency_ms:.4f} ms, are estimates with "
        "the published constants of Loihi 1: nothing is published of Loihi 2."
    )
    if deployed.fits:
        words += " The network was trained in floating point: what is counted is its weights quantized afterwards."
    drawn = drawing(cost_figure(cost), "Synaptic operations of every layer, and what its energy is spent on.")
    return table(rows, head, numbers=True) + paragraph(words, soft=True) + drawn


def _counted(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _configuration(config: TrainConfig) -> str:
    options = config.options()
    changed = [(n, _shown(options[n]), _shown(o.default), o.metadata["help"]) for n, o in OPTIONS.items() if options[n] != o.default]
    head = ("option", "value", "default", "meaning")
    groups = (
        heading(group)
        + table([(o.name, _shown(options[o.name]), o.metadata["help"]) for o in options_of(group)], ("option", "value", "meaning"))
        for group in GROUPS
    )
    first = (
        table(changed, head, caption="Options that differ from the defaults")
        if changed
        else paragraph("All options are at their defaults.")
    )
    return first + folded(f"all {len(OPTIONS)} options", *groups)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value) or "none"


def _repeat(run: OpenedRun, config: TrainConfig, summary: dict[str, Any]) -> str:
    made = {"polystep_snn": read_json(RunFolder(folder_of(run.path)).config).get("version", "0.1.0"), **summary.get("versions", {})}
    versions = ", ".join(f"{name} {version}" for name, version in made.items())
    now = f"polystep_snn {polystep_snn.__version__}, torch {torch.__version__}, python {platform.python_version()}"
    words = "On the same machine with the same versions it gives the same weights, byte for byte."
    rows = [("seed", config.run.seed), ("made with", versions), ("this page with", now)]
    if run.record is not None:
        rows.insert(1, ("data", f"fingerprint {run.record.fingerprint}"))
    return preformatted(command_of(run)) + paragraph(words, soft=True) + table(rows)

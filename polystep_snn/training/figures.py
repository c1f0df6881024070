"""The figures of a run: what fits its data, its targets, and what its folder holds."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from polystep_snn import plots
from polystep_snn.datasets.base import Samples, Sequences
from polystep_snn.hardware.chip_cost import ChipCost
from polystep_snn.training.activity import Activity, activity_of, answers_to_test_part, history_of, in_their_units, rates_of
from polystep_snn.training.answers import Answers
from polystep_snn.training.opened_run import OpenedRun

# Values of a real target that are drawn, and lines of an input that is drawn as curves.
_MOST_VALUES = 4


def figures_of(run: OpenedRun, sample: int = 0, answered: Answers | None = None) -> dict[str, Figure]:
    """Figures by name: "curves" where there are metrics, "activity" of a test sample, "rates"; of classes "confusion", of real targets
    "answers".

    Args:
        sample: number of the test sample.
        answered: what the run says to its test part, where that is known already.
    """
    answered = answers_to_test_part(run)[0] if answered is None else answered
    found = {"curves": curves(run), "activity": activity(run, sample), "rates": rates(run)}
    found |= {"answers": targets_and_answers(run, answered)} if run.dataset.holds_values else {"confusion": decisions(run, answered)}
    return {name: figure for name, figure in found.items() if figure is not None}


def curves(run: OpenedRun) -> Figure | None:
    """Loss and score over epochs; the score alone of one that learned on the chip."""
    history = history_of(run)
    whole = bool(history) and "val_loss" in history[0]
    if not whole and len(history) < 2:
        return None
    figure = plots.new_figure(8 if whole else 4.2, 3.2)
    axes = figure.subplots(1, 1 + whole, squeeze=False)[0]
    if whole:
        plots.loss_curve(axes[0], history)
    plots.accuracy_curve(axes[-1], history, run.best["epoch"])
    return figure


def activity(run: OpenedRun, sample: int) -> Figure:
    """A test sample: as a picture, as input, as spikes of the first hidden layer, on a membrane, and in the readout."""
    found, test = activity_of(run, sample), run.dataset.test
    of_class = "" if run.dataset.holds_values else f" ({plots.plain(run.classes[found.target], 24)})"
    title = f"test sample {sample}{of_class}"
    strip, shown = _has_strip(run), run.kind == "images"
    figure = plots.new_figure(11 if shown else 9, 8 if strip else 6)
    axes: dict[Any, Any]
    if strip:
        axes = figure.subplot_mosaic("ss;ih;mr")
        frames = found.inputs[: run.config.data.num_steps].reshape(-1, *test.shape)
        plots.event_strip(axes["s"], frames, title=f"Events of {title}: ON blue, OFF orange")
    elif shown:
        axes = figure.subplot_mosaic("pih;pmr", width_ratios=(0.6, 1, 1))
        assert isinstance(test, Samples)
        image = test.intensities(slice(sample, sample + 1))[0]
        title = title[0].upper() + title[1:]
        if image.ndim == 2 and len(image) == 1:
            plots.features(axes["p"], image[0], title)
        else:
            plots.picture(axes["p"], image, title)
    else:
        axes = figure.subplot_mosaic("ih;mr")
    _input(axes["i"], run, found, "" if strip or shown else f" of {title}")
    if found.spikes:
        _first_layer(axes["h"], axes["m"], found)
    if run.dataset.holds_values:
        # Values of different sizes share an axis in units of their spread.
        units = (lambda x: in_their_units(run, x), "value") if len(run.classes) == 1 else (lambda x: x, "value (spreads from the mean)")
        plots.approach(axes["r"], units[0](found.readout), run.classes, units[0](found.target), units[1])
    else:
        plots.decision(axes["r"], found.readout, run.classes, found.target)
    return figure


def shows_pictures(run: OpenedRun) -> bool:
    """Whether its activity is drawn with a picture of the sample."""
    return _has_strip(run) or (run.kind == "images" and run.dataset.test.shape[:-1] != (1,))


def _has_strip(run: OpenedRun) -> bool:
    # The channels of a cochlea make no picture: their raster says all.
    return run.kind == "events" and run.dataset.test.shape[1] > 1


def _input(ax: Any, run: OpenedRun, found: Activity, of: str) -> None:
    test = run.dataset.test
    if run.config.data.gives_currents or (isinstance(test, Sequences) and not test.holds_spikes):
        if found.inputs.shape[1] <= _MOST_VALUES:
            plots.lines(ax, found.inputs, f"Input current{of}")
        else:
            plots.currents(ax, found.inputs, f"Input current{of}")
    else:
        plots.raster(ax, found.inputs, f"Input spikes{of}", plots.GREY, "input")


def _first_layer(above: Any, below: Any, found: Activity) -> None:
    spikes = found.spikes[0]
    plots.raster(above, spikes, "Spikes of hidden layer 1")
    # The neuron whose number of spikes is nearest to a third of the steps: neither silent nor always firing.
    neuron = int(abs(spikes.sum(0, dtype=np.float64) - len(spikes) / 3).argmin())
    v_th = float(found.thresholds[0][neuron])
    plots.membrane(below, found.membranes[0][:, neuron], spikes[:, neuron], v_th, f"Membrane of neuron {neuron}")


def rates(run: OpenedRun) -> Figure | None:
    """How often the neurons of every hidden layer fire."""
    layers = rates_of(run)
    if not layers:
        return None
    figure = plots.new_figure(4.2 * len(layers), 3.2)
    for k, (ax, layer) in enumerate(zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True)):
        plots.rate_histogram(ax, layer, f"Hidden layer {k + 1}")
    return figure


def decisions(run: OpenedRun, answered: Answers) -> Figure:
    """True classes against decisions."""
    side = 5 if run.dataset.num_classes <= 10 else 8
    figure = plots.new_figure(side, side)
    plots.confusion(figure.subplots(), answered.labels.astype(np.int64), answered.found.predictions.cpu().numpy(), run.classes)
    _with_note(figure, run)
    return figure


def targets_and_answers(run: OpenedRun, answered: Answers) -> Figure:
    """Answers against real targets, and what is between them, for every value; of many the first ones."""
    targets, said = in_their_units(run, answered.labels), answered.scores
    shown = min(_MOST_VALUES, targets.shape[1])
    figure = plots.new_figure(max(4.2, 3.6 * shown), 6.4)
    axes = figure.subplots(2, shown, squeeze=False)
    for k in range(shown):
        name = plots.plain(run.classes[k], 24)
        plots.against_targets(axes[0, k], targets[:, k], said[:, k], f"{name}: R² {r2_of(targets[:, k], said[:, k]):.3f}")
        plots.residuals(axes[1, k], targets[:, k], said[:, k])
    _with_note(figure, run)
    return figure


def cost_figure(cost: ChipCost) -> Figure:
    """Operations and energy of every layer."""
    names = [f"{layer.name}\n{layer.neurons:,} neurons" for layer in cost.layers]
    figure = plots.new_figure(10, 1.6 + 0.6 * len(names))
    left, right = figure.subplots(1, 2)
    dense, effective = ([getattr(layer, x) for layer in cost.layers] for x in ("dense_operations", "synaptic_operations"))
    plots.operations_of_layers(left, names, dense, effective)
    plots.energy_of_layers(right, names, [x.energy_of for x in cost.layers], "Energy, estimated with Loihi 1's constants")
    return figure


def r2_of(targets: np.ndarray, said: np.ndarray) -> float:
    """The coefficient of determination of one value, ``[n]`` both; NaN where the targets do not differ."""
    spread = np.square(targets - targets.mean()).sum()
    return float(1 - np.square(said - targets).sum() / spread) if spread > 0 else float("nan")


def _with_note(figure: Figure, run: OpenedRun) -> None:
    if run.dataset.note:
        title = plots.plain(run.dataset.title, 200)
        figure.suptitle(textwrap.fill(title, int(15 * figure.get_figwidth())), fontsize=7, color=plots.GREY)

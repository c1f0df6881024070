"""Figures. Every function draws into ``ax`` and returns it; none touches pyplot's state."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

BLUE, ORANGE, GREY = "#2b6cb0", "#d9762b", "#8a8f98"
# So many classes have room for their names and numbers in a figure.
_MOST_NAMED = 30


def new_figure(width: float, height: float) -> Figure:
    """A figure of the given width and height in inches, laid out to fit its labels."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained")


def plain(text: str, longest: int = 60) -> str:
    """Text of strangers for a figure: in one line of at most ``longest`` characters, and never taken for a formula."""
    return shortened(text, longest).replace("$", r"\$")


def shortened(text: str, longest: int) -> str:
    """Text in one line of at most ``longest`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _tidy(ax: Axes, title: str, x: str, y: str) -> Axes:
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=8, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def loss_curve(ax: Axes, history: Sequence[dict[str, Any]]) -> Axes:
    """Training and validation loss over epochs, from a run's history of metrics: cross-entropy, or squared errors of real targets."""
    _over_epochs(ax, history, "loss")
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
    ax.legend(frameon=False, fontsize=8)
    return _tidy(ax, "Loss", "epoch", "squared error (spread² of the target)" if "val_r2" in history[0] else "cross-entropy (nats)")


def accuracy_curve(ax: Axes, history: Sequence[dict[str, Any]], chosen: int | None = None) -> Axes:
    """Training and validation accuracy, or R², over epochs of a run's history; ``chosen`` marks the epoch whose weights were kept."""
    values = "val_r2" in history[0]
    _over_epochs(ax, history, "r2" if values else "accuracy", 1 if values else 100)
    if chosen is not None:
        ax.axvline(chosen, color=ORANGE, linewidth=1, linestyle=":", label=f"chosen: epoch {chosen}")
    if values:
        # Before anything was learned R² can be of any size below 0.
        ax.set_ylim(bottom=max(ax.get_ylim()[0], -1 if max(m["val_r2"] for m in history) > -1 else -np.inf))
    ax.legend(facecolor="white", edgecolor="none", framealpha=0.9, fontsize=8, loc="lower right")
    return _tidy(ax, *("R²", "epoch", "R²") if values else ("Accuracy", "epoch", "accuracy (%)"))


def _over_epochs(ax: Axes, history: Sequence[dict[str, Any]], name: str, factor: float = 1) -> None:
    for part, color, label in (("train", GREY, "training batches"), ("val", BLUE, "validation")):
        # Where learning ran on the chip, only validation was looked at.
        if f"{part}_{name}" in history[0]:
            values = [factor * m[f"{part}_{name}"] for m in history]
            ax.plot([m["epoch"] for m in history], values, color=color, label=label, marker=".")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def running_accuracy(ax: Axes, right: dict[str, np.ndarray], window: int = 250) -> Axes:
    """Accuracy over the last ``window`` samples of a stream, of each of several networks: ``right[name]`` tells which it got right."""
    for (name, values), color in zip(right.items(), (BLUE, GREY, ORANGE), strict=False):
        size = min(window, len(values))
        mean = np.convolve(values, np.ones(size) / size, mode="valid")
        ax.plot(np.arange(size, len(values) + 1), 100 * mean, color=color, label=name)
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return _tidy(ax, f"Accuracy over the last {window} samples", "samples of the stream", "accuracy (%)")


def raster(ax: Axes, spikes: np.ndarray, title: str = "Spikes", color: str = BLUE, of: str = "neuron") -> Axes:
    """Spikes ``[T, N]`` as ticks, neurons upwards, or what else they are ``of``; steps are counted from 1."""
    step, neuron = np.nonzero(spikes)
    ax.scatter(step + 1, neuron, s=max(0.5, min(60, 900 / max(1, spikes.shape[1]))), marker="|", color=color, linewidths=0.9)
    ax.set_xlim(0.5, len(spikes) + 0.5)
    ax.set_ylim(-0.5, spikes.shape[1] - 0.5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return _tidy(ax, title, "timestep", of)


def event_strip(ax: Axes, frames: np.ndarray, num_pictures: int = 6, title: str = "Events") -> Axes:
    """Frames of a recording ``[T, C, H, W]`` as ``num_pictures`` side by side, each of several steps: ON events blue, OFF events orange.

    Frames with one channel, in which ON and OFF are not told apart, are grey.
    """
    num_pictures = min(num_pictures, len(frames))
    parts = np.array_split(np.arange(len(frames)), num_pictures)
    height, width = frames.shape[2:]
    gap = 2
    strip = np.ones((height, num_pictures * (width + gap) - gap, 3))
    inks = [to_rgb(c) for c in ((ORANGE, BLUE) if frames.shape[1] == 2 else (GREY,))]
    for k, part in enumerate(parts):
        summed = frames[part].sum(0, dtype=np.float64)
        strength = summed / max(1.0, np.quantile(summed[summed > 0], 0.95) if summed.any() else 1.0)
        picture = strip[:, k * (width + gap) : k * (width + gap) + width]
        for channel, ink in zip(strength, inks, strict=True):
            picture -= np.minimum(channel, 1)[:, :, None] * (1 - np.array(ink))
    ax.imshow(np.clip(strip, 0, 1), interpolation="nearest")
    ax.set_xticks([k * (width + gap) + width / 2 for k in range(num_pictures)], [f"{part[0] + 1}-{part[-1] + 1}" for part in parts])
    ax.set_yticks([])
    _tidy(ax, title, "timesteps", "")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def picture(ax: Axes, image: np.ndarray, title: str = "Sample") -> Axes:
    """An image with intensities in [0, 1]: ``[H, W]``, or ``[C, H, W]``; three are red, green and blue, others stand side by side."""
    if image.ndim == 3 and len(image) == 3:
        ax.imshow(np.clip(image.transpose(1, 2, 0), 0, 1), interpolation="nearest")
    else:
        flat = image if image.ndim == 2 else np.concatenate(list(image), axis=1)
        ax.imshow(flat, cmap="gray", vmin=min(0.0, float(flat.min())), vmax=max(1.0, float(flat.max())), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    _tidy(ax, title, "" if image.ndim == 2 or len(image) in (1, 3) else f"channels 0 to {len(image) - 1}", "")
    ax.spines[:].set_visible(False)
    return ax


def features(ax: Axes, values: np.ndarray, title: str = "Sample") -> Axes:
    """A row of a table, values ``[F]``, as bars."""
    ax.barh(np.arange(len(values)), values, color=GREY)
    ax.invert_yaxis()
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _tidy(ax, title, "value, as scaled", "feature")


def currents(ax: Axes, values: np.ndarray, title: str = "Input current") -> Axes:
    """Input currents, values ``[T, N]``, as an image, for inputs that are no spikes."""
    picture = ax.imshow(values.T, aspect="auto", origin="lower", cmap="Greys", extent=(0.5, len(values) + 0.5, -0.5, values.shape[1] - 0.5))
    ax.figure.colorbar(picture, ax=ax, shrink=0.8).ax.tick_params(labelsize=8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return _tidy(ax, title, "timestep", "input")


def lines(ax: Axes, values: np.ndarray, title: str) -> Axes:
    """Currents of a few inputs, values ``[T, N]``, as curves."""
    steps = np.arange(1, len(values) + 1)
    for k, color in zip(range(values.shape[1]), (BLUE, ORANGE, GREY, "black"), strict=False):
        ax.plot(steps, values[:, k], color=color, marker=".", label=f"input {k}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(y=0.2)
    ax.legend(frameon=False, fontsize=8, ncols=values.shape[1], loc="upper left")
    return _tidy(ax, title, "timestep", "current")


def membrane(ax: Axes, v: np.ndarray, spikes: np.ndarray, v_th: float, title: str = "Membrane") -> Axes:
    """The membrane ``v [T]`` of one neuron after each step, its spikes ``[T]``, and its threshold ``v_th``."""
    steps = np.arange(1, len(v) + 1)
    ax.plot(steps, v, color=BLUE, marker=".", label="membrane")
    ax.axhline(v_th, color=GREY, linewidth=1, linestyle="--", label="threshold")
    fired = steps[spikes > 0]
    # Room for the spikes and the legend above the threshold, in proportion to how far down the membrane goes.
    span = v_th - min(0.0, float(v.min()))
    ax.plot(fired, np.full(len(fired), v_th + 0.06 * span), "v", color=ORANGE, label="spike", markersize=5)
    ax.set_xlim(0.5, len(v) + 0.5)
    ax.set_ylim(top=v_th + 0.35 * span)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
    return _tidy(ax, title, "timestep", "membrane")


def decision(ax: Axes, values: np.ndarray, classes: Sequence[str], label: int, title: str = "Readout") -> Axes:
    """The readout's values ``[T, C]`` after each step; the true one of ``classes``, ``label``, in colour, the strongest other one named."""
    steps = np.arange(1, len(values) + 1)
    rival = int(np.argmax(np.where(np.arange(values.shape[1]) == label, -np.inf, values[-1])))
    for k in range(values.shape[1]):
        if k not in (label, rival):
            ax.plot(steps, values[:, k], color=GREY, linewidth=0.8, alpha=0.6)
    ax.plot(steps, values[:, rival], color=ORANGE, label=f"best other: {plain(classes[rival], 24)}")
    ax.plot(steps, values[:, label], color=BLUE, linewidth=2, label=f"true class: {plain(classes[label], 24)}")
    ax.set_xlim(0.5, len(values) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize=8, loc="best")
    return _tidy(ax, title, "timestep", "value")


def approach(ax: Axes, values: np.ndarray, names: Sequence[str], target: np.ndarray, unit: str = "value", title: str = "Readout") -> Axes:
    """The readout's values ``[T, D]`` by their names after each step, in a unit, and the target ``[D]`` dashed; of many three are drawn."""
    steps = np.arange(1, len(values) + 1)
    for k, color in zip(range(values.shape[1]), (BLUE, ORANGE, GREY), strict=False):
        ax.plot(steps, values[:, k], color=color, label=plain(names[k], 24))
        ax.axhline(target[k], color=color, linewidth=1, linestyle="--")
    ax.set_xlim(0.5, len(values) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize=8, loc="best", title="dashed: target", title_fontsize=8)
    return _tidy(ax, title, "timestep", unit)


def against_targets(ax: Axes, targets: np.ndarray, answers: np.ndarray, title: str) -> Axes:
    """Answers against real targets, both ``[n]``, and the diagonal on which they agree."""
    low, high = (float(of(targets)) for of in (np.min, np.max))
    ax.plot([low, high], [low, high], color=ORANGE, linewidth=1, linestyle="--", label="answer = target")
    ax.scatter(targets, answers, s=_dot_size(len(targets)), color=BLUE, alpha=0.5, linewidths=0)
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return _tidy(ax, title, "target", "answer")


def residuals(ax: Axes, targets: np.ndarray, answers: np.ndarray, title: str = "Residuals") -> Axes:
    """What answers are above real targets, both ``[n]``, against the targets."""
    ax.axhline(0, color=ORANGE, linewidth=1, linestyle="--")
    ax.scatter(targets, answers - targets, s=_dot_size(len(targets)), color=BLUE, alpha=0.5, linewidths=0)
    return _tidy(ax, title, "target", "answer - target")


def _dot_size(count: int) -> float:
    return max(1.0, min(14.0, 4000 / count))


def rate_histogram(ax: Axes, rates: np.ndarray, title: str = "Firing rates") -> Axes:
    """Distribution of the neurons' firing rates ``[N]``, in spikes a step; silent neurons are counted in the title."""
    ax.hist(rates, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    ax.set_xlim(0, 1)
    ax.axvline(rates.mean(), color=ORANGE, linewidth=1, linestyle=":", label=f"mean {rates.mean():.3f}")
    ax.legend(frameon=False, fontsize=8)
    return _tidy(ax, f"{title} ({int((rates == 0).sum())} of {len(rates)} silent)", "spikes a step", "neurons")


def confusion(ax: Axes, labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> Axes:
    """True labels against predictions, both ``[n]``, by classes. The diagonal is left pale: what stands out is what went wrong."""
    n = len(classes)
    table = np.zeros((n, n), dtype=int)
    np.add.at(table, (labels, predictions), 1)
    wrong = np.where(np.eye(n, dtype=bool), 0, table)
    ax.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(1, wrong.max()))
    for i, j in zip(*np.nonzero(table), strict=True) if n <= _MOST_NAMED else ():
        strong = wrong[i, j] > 0.6 * wrong.max() and i != j
        ax.text(j, i, table[i, j], ha="center", va="center", fontsize=7, color="white" if strong else GREY if i == j else "black")
    names = [plain(name, 16) for name in classes]
    shown = range(0, n, -(-n // _MOST_NAMED))
    ax.set_xticks(shown, [names[k] for k in shown], rotation=90 if max(map(len, names)) > 2 else 0)
    ax.set_yticks(shown, [names[k] for k in shown])
    _tidy(ax, f"Decisions: {np.mean(labels == predictions):.2%} of {len(labels)} right", "decision", "true class")
    ax.spines[:].set_visible(False)
    return ax


def against_steps(ax: Axes, points: Sequence[dict[str, Any]], quantity: str, title: str, y: str) -> Axes:
    """A quantity of every method against the number of timesteps, both logarithmic, from the points of a profile; ``y``: a label."""
    colors = {"polystep": BLUE, "bptt": ORANGE}
    for method in dict.fromkeys(p["method"] for p in points):
        own = [p for p in points if p["method"] == method]
        ax.loglog([p["num_steps"] for p in own], [p[quantity] for p in own], marker="o", color=colors.get(method, GREY), label=method)
    steps = sorted({p["num_steps"] for p in points})
    ax.set_xticks(steps, [str(t) for t in steps])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.grid(True, which="major", color=GREY, alpha=0.2, linewidth=0.6)
    ax.legend(frameon=False, fontsize=8)
    return _tidy(ax, title, "timesteps", y)


def operations_of_layers(ax: Axes, names: Sequence[str], dense: Sequence[float], effective: Sequence[float]) -> Axes:
    """Effective synaptic operations of every layer, by names, and behind them the dense ones of a network that is always busy."""
    places = np.arange(len(names))
    ax.barh(places, dense, color=GREY, alpha=0.35, label="all inputs, all steps")
    ax.barh(places, effective, color=BLUE, label="spikes alone")
    for place, (number, of) in enumerate(zip(effective, dense, strict=True)):
        ax.text(of, place, f" {number:,.0f}, {number / of:.1%}", va="center", fontsize=8)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(left=max(1.0, 0.3 * min([x for x in effective if x > 0], default=1.0)), right=30 * max(dense))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return _tidy(ax, "Synaptic operations", "operations a sample", "")


def energy_of_layers(ax: Axes, names: Sequence[str], energies: Sequence[dict[str, float]], title: str = "Energy") -> Axes:
    """Energies of every layer in nJ, by names, what they are spent on one behind the other."""
    places, start = np.arange(len(names)), np.zeros(len(names))
    for kind, color in zip(energies[0], (BLUE, ORANGE, GREY), strict=False):
        values = np.array([of[kind] for of in energies])
        ax.barh(places, values, left=start, color=color, label=kind)
        start += values
    for place, total in enumerate(start):
        ax.text(total, place, f" {total:,.1f}", va="center", fontsize=8)
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xlim(right=1.25 * max(start.max(), 1e-9))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return _tidy(ax, title, "nJ a sample", "")

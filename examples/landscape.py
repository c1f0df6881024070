"""What the loss of a hard-threshold network looks like, and how PolyStep walks over it.

    python examples/landscape.py [FIGURE.png] [ANIMATION.gif]

A network of two inputs, three hidden LIF neurons and one output neuron shall fire as often as a teacher does, on nine stimuli of eight
steps. Two of its weights are free, those of the first hidden neuron, so that the loss can be drawn: terraces, whose gradient is zero, and
cliffs, where a spike comes or goes. PolyStep asks for the loss at the corners of a square, and moves to their weighted mean; where all
corners cost the same the square grows. Both files are drawn from the run itself. Half a minute on one core. Of 64 such searches, from
eight points and with eight seeds, 63 found the teacher's spike counts within 80 steps.
"""

import argparse
import math
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from polystep_snn import LIFParameters, PolyStepES, plots
from polystep_snn.polystep.schedule import at
from polystep_snn.snn.neurons import lif_initial_state, lif_step

NUM_STEPS, NEURON = 8, LIFParameters.from_beta(0.9)
TEACHER = (0.9, 0.5)
STARTS = {"a": (-1.75, 1.55), "b": (-1.4, -1.75), "c": (1.7, -1.6)}
COLORS = dict(zip(STARTS, (plots.ORANGE, "#b83280", "#2f855a"), strict=True))
LIMIT, INK = 2.3, "#1a202c"
TERRACES = LinearSegmentedColormap.from_list("terraces", ["#1a365d", "#2b6cb0", "#63a4d8", "#b5d4ec", "#eef5fb"])


def spikes(currents: Tensor) -> Tensor:
    """Spikes ``[T, ...]`` of LIF neurons for their currents ``[T, ...]``."""
    state, out = lif_initial_state(currents[0], NEURON), []
    for current in currents:
        z, state = lif_step(current, state, NEURON)
        out.append(z)
    return torch.stack(out)


class Student:
    """The network: ``counts`` are its output spikes and ``loss`` their mean distance from the teacher's, for weights ``[n, 2]``."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        angles = 2 * math.pi * torch.arange(9) / 9 + 0.3 * torch.rand(9, generator=generator)
        length = 0.6 + 0.5 * torch.rand(9, 1, generator=generator)
        self.stimuli = (length * torch.stack([angles.cos(), angles.sin()], 1)).double()
        fixed = torch.randn(2, 2, generator=generator).double() @ self.stimuli.T
        self.others = 0.6 * spikes(fixed.expand(NUM_STEPS, -1, -1)).sum(1)  # what the output receives from the other two
        self.target = self.counts(torch.tensor([TEACHER]).double())

    def counts(self, weights: Tensor) -> Tensor:
        free = spikes((weights @ self.stimuli.T).expand(NUM_STEPS, -1, -1))
        return spikes(0.8 * free + self.others[:, None]).sum(0)

    def loss(self, weights: Tensor) -> Tensor:
        return (self.counts(weights) - self.target).abs().mean(1)


class Step(NamedTuple):
    """One step: the square's corners ``[4, 2]``, their shares ``[4]``, the centre ``[2]`` before it and the loss there."""

    corners: np.ndarray
    shares: np.ndarray
    before: np.ndarray
    loss: float


def walk(student: Student, start: tuple[float, float], most: int = 60) -> list[Step]:
    """PolyStep from a point until the spike counts are the teacher's."""
    search = PolyStepES(torch.tensor(start).double(), radius=0.3)
    steps = []
    for _ in range(most):
        before, corners = search.mean, search.ask()
        costs = student.loss(corners)
        shares = search.transport(costs[:, None], at(search.transport.eps, 0.0))[:, 0]
        search.tell(costs)
        loss = float(student.loss(before[None]))
        steps.append(Step(corners.numpy(), shares.numpy(), before.numpy(), loss))
        if loss == 0:
            break
    return steps


def draw_landscape(ax: Axes, student: Student, points: int = 800) -> None:
    """The loss over both weights, every point a network that was run."""
    axis = torch.linspace(-LIMIT, LIMIT, points, dtype=torch.float64)
    loss = torch.stack([student.loss(torch.stack([axis, y.expand(points)], 1)) for y in axis])
    extent = (-LIMIT, LIMIT, -LIMIT, LIMIT)
    image = ax.imshow(loss.numpy(), origin="lower", extent=extent, cmap=TERRACES, interpolation="antialiased")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.75, pad=0.02)
    bar.set_label("spikes too many or too few, a stimulus", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    ax.plot(*TEACHER, marker="*", color="white", markersize=14, markeredgecolor=INK, markeredgewidth=0.9, zorder=6)
    ax.annotate("teacher", TEACHER, (9, 5), textcoords="offset points", color="white", fontsize=9, zorder=6)
    ax.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
    tidy(ax, "Terraces and cliffs", "first free weight", "second free weight")


def tidy(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=8)


def draw_path(ax: Axes, steps: list[Step], color: str) -> None:
    """The way of the centre, its last point largest."""
    path = np.array([step.before for step in steps])
    ax.plot(*path.T, color="white", linewidth=3.2, solid_joinstyle="round", zorder=4)
    ax.plot(*path.T, color=color, linewidth=1.8, solid_joinstyle="round", zorder=5)
    ax.scatter(*path.T, s=[14] * (len(path) - 1) + [42], color=color, edgecolors="white", linewidths=0.7, zorder=5)


def square(step: Step, **style) -> Polygon:
    return Polygon(step.corners[[0, 2, 1, 3]], closed=True, **style)


def draw_figure(student: Student, walks: dict[str, list[Step]]) -> Figure:
    """The landscape with all squares and paths, and the loss on the way."""
    figure = plots.new_figure(10.6, 5.2)
    figure.get_layout_engine().set(wspace=0.06)
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    draw_landscape(left, student)
    for name, steps in walks.items():
        for step in steps[:-1]:
            left.add_patch(square(step, fill=False, edgecolor=COLORS[name], linewidth=0.8, alpha=0.5))
        draw_path(left, steps, COLORS[name])
        label = left.annotate(name, steps[0].before, (8, -4), textcoords="offset points", color=COLORS[name], fontsize=12, zorder=6)
        label.set(fontweight="bold", path_effects=[withStroke(linewidth=2.5, foreground="white")])
        right.step(range(len(steps)), [s.loss for s in steps], where="post", color=COLORS[name], linewidth=1.8, label=f"from {name}")
        right.plot(len(steps) - 1, steps[-1].loss, "o", color=COLORS[name], markersize=5, clip_on=False)
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xlim=(0, None), ylim=(0, None))
    right.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, fontsize=8)
    tidy(right, "The way down", "step (4 evaluations each)", "loss at the centre")
    return figure


def draw_animation(student: Student, walks: dict[str, list[Step]], path: str) -> None:
    """The same, a step a frame: corners are as large as their shares."""
    figure = plots.new_figure(6.4, 5.2)
    figure.set_dpi(110)
    ax = figure.subplots()
    draw_landscape(ax, student)
    # Laid out once: all frames are alike.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    still = set(ax.get_children())
    longest = max(map(len, walks.values()))

    def frame(k: int) -> list:
        for artist in set(ax.get_children()) - still:
            artist.remove()
        for name, steps in walks.items():
            now = steps[min(k, len(steps) - 1)]
            draw_path(ax, steps[: k + 1], COLORS[name])
            if k < len(steps) - 1:
                ax.add_patch(square(now, facecolor=COLORS[name], edgecolor=COLORS[name], linewidth=1.4, alpha=0.3, zorder=3))
                ax.scatter(*now.corners.T, s=20 + 160 * now.shares, color=COLORS[name], edgecolors="white", linewidths=0.8, zorder=6)
        ax.set_title(f"Step {min(k, longest - 1)}", loc="right", fontsize=10)
        return []

    # It rests at the end.
    FuncAnimation(figure, frame, frames=longest + 8, init_func=list).save(path, PillowWriter(fps=4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", nargs="?", default="landscape.png")
    parser.add_argument("animation", nargs="?", default="landscape.gif")
    arguments = parser.parse_args()
    student = Student()
    walks = {name: walk(student, start) for name, start in STARTS.items()}
    for name, steps in walks.items():
        print(f"from {name} {STARTS[name]}: loss {steps[0].loss:.2f} -> {steps[-1].loss:.2f} after {len(steps) - 1} steps of 4 evaluations")
    draw_figure(student, walks).savefig(arguments.figure)
    draw_animation(student, walks, arguments.animation)
    print(f"wrote {arguments.figure} and {arguments.animation}")


if __name__ == "__main__":
    main()

"""A learned map in the plane: where points go, how it bends a grid, and the potential whose gradient it is."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transport_pairs import Pair

from polystep_snn import files
from polystep_snn.plots import BLUE, GREY, ORANGE, new_figure
from polystep_snn.transport_maps import PotentialMap

_POINTS, _LINES, _MOVED = 1_500, 21, 40


def draw(path: Path, pair: Pair, learned: PotentialMap) -> None:
    """Write the figure as PNG.

    Args:
        path: of the file.
        pair: two-dimensional.
        learned: fitted to it.
    """
    x = pair.source(_POINTS, torch.Generator().manual_seed(1))
    known, mapped = pair.map(x), learned.map(x)
    figure = new_figure(10, 3.6)
    points, grid, potential = figure.subplots(1, 3)
    points.scatter(*x.T, s=3, color=GREY, label="source", linewidths=0)
    points.scatter(*known.T, s=7, color=BLUE, label="target", linewidths=0)
    points.scatter(*mapped.T, s=2, color=ORANGE, label="source, mapped", linewidths=0)
    few = slice(_MOVED)
    points.plot(torch.stack([x[few, 0], mapped[few, 0]]), torch.stack([x[few, 1], mapped[few, 1]]), color=GREY, linewidth=0.4)
    points.legend(fontsize=7, markerscale=3, frameon=False)
    low, high = x.quantile(0.005, dim=0), x.quantile(0.995, dim=0)
    for line in _grid(low, high):
        grid.plot(*line.T, color=GREY, linewidth=0.4)
        grid.plot(*pair.map(line).T, color=BLUE, linewidth=1.6, alpha=0.4)
        grid.plot(*learned.map(line).T, color=ORANGE, linewidth=0.7)
    across, up = (torch.linspace(float(low[k]), float(high[k]), 80) for k in (0, 1))
    places = torch.cartesian_prod(across, up)
    heights = learned.potential(places).reshape(80, 80).T
    potential.contourf(across, up, heights - heights.min(), 20, cmap="Greys")
    arrows = torch.cartesian_prod(across[4::12], up[4::12])
    moved = learned.map(arrows) - arrows
    potential.quiver(*arrows.T, *moved.T, color=ORANGE, angles="xy", width=0.005)
    titles = ("Points, and where 40 of them go", "A grid: known (blue), learned (orange)", "Potential, and T(x) - x as arrows")
    for ax, title in zip((points, grid, potential), titles, strict=True):
        ax.set_title(title, loc="left", fontsize=9, fontweight="bold")
        ax.set_aspect("equal")
        ax.tick_params(labelsize=7)
    files.write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _grid(low: Tensor, high: Tensor) -> list[Tensor]:
    """Lines across and up, ``[200, 2]`` each."""
    lines = []
    for axis in (0, 1):
        along = np.linspace(float(low[1 - axis]), float(high[1 - axis]), 200)
        for place in np.linspace(float(low[axis]), float(high[axis]), _LINES):
            line = np.stack([np.full_like(along, place), along], 1)
            lines.append(torch.from_numpy(line if axis == 0 else line[:, ::-1].copy()))
    return lines

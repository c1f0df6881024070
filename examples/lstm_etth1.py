"""Train an LSTM from forward passes alone: four days of a transformer's oil temperature are seen, the next four are predicted.

    python examples/lstm_etth1.py [FILE] [--steps 300]

FILE is ETTh1.csv (https://github.com/zhouhaoyi/ETDataset); left out, it is ETT/ETTh1.csv in the folder that $POLYSTEP_SNN_DATA names.
Two minutes on one core. Writes ``lstm_etth1.png``: what was seen, what followed, and the prediction.
"""

import argparse
import csv
import os
from pathlib import Path

import torch
from torch import nn

from polystep_snn import LSTM, LayerSpace, LayerStep, plots

SEEN, AHEAD, TRAINING, VALIDATION, TEST = 96, 96, 8640, 2880, 2880


class Forecaster(nn.Module):
    """Of differences from the last value ``[B, 96, 1]`` makes those that follow, ``[B, 96]``."""

    def __init__(self, num_hidden=64):
        super().__init__()
        self.lstm, self.head = LSTM(1, num_hidden, batch_first=True), nn.Linear(num_hidden, AHEAD)
        with torch.no_grad():  # forget gates start open: the state has to outlast 96 hours
            self.lstm.input_gates[0].bias[num_hidden : 2 * num_hidden] += 2

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def cost(output, target):
    """Each sample's mean squared error, ``[B]``."""
    return (output - target).square().mean(1)


def windows(series):
    """Of a series ``[hours]``, all windows: differences from the last value that is seen, before ``[n, 96, 1]`` and after ``[n, 96]``."""
    both = series.unfold(0, SEEN + AHEAD, 1)
    both = both - both[:, SEEN - 1 : SEEN]
    return both[:, :SEEN, None], both[:, SEEN:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=Path(os.environ.get("POLYSTEP_SNN_DATA", ".")) / "ETT" / "ETTh1.csv")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"steps is {arguments.steps}: choose at least 1")
    if not arguments.file.is_file():
        parser.error(f"{arguments.file} is missing: get ETTh1.csv from https://github.com/zhouhaoyi/ETDataset and give its path")
    with arguments.file.open(newline="") as rows:
        values = torch.tensor([float(row["OT"]) for row in csv.DictReader(rows)])
    training, _, test = values[: TRAINING + VALIDATION + TEST].split([TRAINING, VALIDATION, TEST])
    mean, deviation = training.mean(), training.std()
    inputs, targets = windows((training - mean) / deviation)

    torch.manual_seed(0)
    network = Forecaster()
    polystep = LayerStep(network, cost, LayerSpace())
    # The head's slopes are exact, those of the gates are noisy: they take smaller steps.
    groups = [{"params": network.lstm.parameters(), "lr": 1e-3}, {"params": network.head.parameters(), "lr": 1e-2}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps)
    for step in range(arguments.steps):
        batch = torch.randint(len(inputs), (128,))
        result = polystep.step(inputs[batch], targets[batch])  # forward passes only; fills .grad
        optimizer.step()
        rates.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: mean squared error {result.loss:.3f}", flush=True)

    inputs, targets = windows((test - mean) / deviation)
    with torch.no_grad():
        predicted = network(inputs)
    print(f"test: repeating the last value {targets.square().mean():.4f}, the LSTM {cost(predicted, targets).mean():.4f}")
    figure = plots.new_figure(7, 3)
    ax = figure.subplots()
    last = test[SEEN - 1]
    ax.plot(range(1 - SEEN, 1), test[:SEEN], color=plots.GREY, label="seen")
    ax.plot(range(1, AHEAD + 1), test[SEEN : SEEN + AHEAD], color=plots.BLUE, label="what followed")
    ax.plot(range(1, AHEAD + 1), last + deviation * predicted[0], color=plots.ORANGE, label="predicted")
    ax.set(xlabel="hours", ylabel="oil temperature (°C)")
    ax.legend()
    figure.savefig("lstm_etth1.png")


if __name__ == "__main__":
    main()

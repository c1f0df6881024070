"""What is usual to say of answers to a test part: of classes, and of real values."""

from typing import Any

import numpy as np

from polystep_snn.datasets.own.targets import Classes, TargetScaling
from polystep_snn.training.metrics import Evaluation


def scores_of(found: Evaluation, labels: np.ndarray, num_classes: int, targets: Classes | TargetScaling | None = None) -> dict[str, Any]:
    """For ``summary.json``: accuracy, balanced accuracy and confusion; or mean squared error and R² of real targets.

    Args:
        found: the answers.
        labels: ``[n]`` classes, or real targets ``[n, D]`` in units of their spread.
        num_classes: number of classes.
        targets: units of real targets, in which errors are told; None for those of ``labels``.
    """
    answers = found.predictions.cpu().numpy()
    if labels.ndim == 2:
        spread = np.array(targets.spread) if isinstance(targets, TargetScaling) else 1.0
        error = (answers.astype(np.float64) - labels[: len(answers)]) * spread
        return {"test_mse": float(np.square(error).mean()), "test_r2": found.accuracy}
    table = confusion(labels[: len(answers)], answers, num_classes)
    return {"test_accuracy": found.accuracy, "test_balanced_accuracy": balanced_accuracy(table), "test_confusion": table.tolist()}


def confusion(labels: np.ndarray, decided: np.ndarray, num_classes: int) -> np.ndarray:
    """``[C, C]``: how often class i (row) was taken for class j (column)."""
    table = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(table, (labels.astype(np.int64), decided.astype(np.int64)), 1)
    return table


def balanced_accuracy(table: np.ndarray) -> float:
    """Mean over the classes that occur of how often they are told rightly."""
    occurs = table.sum(1) > 0
    return float((np.diag(table)[occurs] / table.sum(1)[occurs]).mean())

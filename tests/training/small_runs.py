"""Runs of a second, stopped where a test wants it."""

from polystep_snn.training import checkpoint
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer


def small_config(**changes):
    """A run on the digits of two epochs and 26 steps: every kind of randomness, no compilation."""
    return TrainConfig(
        **{
            "dataset": "digits",
            "hidden": (24,),
            "num_steps": 6,
            "epochs": 2,
            "batch_size": 96,
            "encoder": "poisson",
            "probed": 10,
            "threads": 1,
            "compile": False,
            **changes,
        }
    )


WEIGHT_SPACE = {"probed": 0, "space": "weight", "rank": 4, "radius": 0.5, "polytope": "simplex", "lr": 0.02, "weight_decay": 0.0}


class StopAt(Observer):
    """Asks a run to stop after some steps."""

    def __init__(self, step):
        self.step = step

    def step_done(self):
        self.step -= 1
        if self.step == 0:
            self.trainer.stop_requested = True


def final(folder):
    """All that a run ends with, but for the clock."""
    tensors, meta = checkpoint.load(folder / "checkpoint.safetensors")
    for entry in (meta, *meta["history"]):
        entry.pop("seconds")
        entry.pop("peak_rss_mb", None)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, meta

"""What decides how a run goes on: into a checkpoint, and back to the bit."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.polystep.method import Method
from polystep_snn.snn.calibrate import with_thresholds
from polystep_snn.snn.magnitude import flaw
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training import checkpoint
from polystep_snn.training.checked_state import Content
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.run_folder import RunFolder, check_config


@dataclass
class Position:
    """Where a run stands. ``order_state`` is the data generator's state before the order of the current epoch was drawn."""

    epoch: int = 0
    step: int = 0
    order_state: Tensor | None = None
    seconds: float = 0.0
    forward_passes: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


# What a checkpoint's JSON holds of it.
_SAVED = ("epoch", "step", "seconds", "forward_passes", "history", "best")


class Run(Protocol):
    """The parts of a ``Trainer`` that change while it trains."""

    config: TrainConfig
    folder: RunFolder
    network: SpikingNetwork
    average: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    method: Method
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.CosineAnnealingLR
    order_generator: torch.Generator
    encoder_generator: torch.Generator
    totals: dict[str, Tensor]
    position: Position
    steps_per_epoch: int


def save(run: Run) -> None:
    """Write the checkpoint: everything that decides what comes next.

    Raises:
        InputError: weights that cannot be computed with; what was saved before is intact.
    """
    position = run.position
    for name, p in run.network.named_parameters():
        if (found := flaw(p)) is not None:
            raise InputError(f"{name} contains {found}: start a new run with a smaller learning rate")
    optimizer, groups = checkpoint.pack_optimizer(run.optimizer)
    order_state = run.order_generator.get_state() if position.order_state is None else position.order_state
    tensors = {
        **{f"model.{name}": p for name, p in run.network.state_dict().items()},
        **{f"average.{name}": p for name, p in run.average.items()},
        **{f"best.{name}": p for name, p in run.best_weights.items()},
        **{f"optimizer.{name}": p for name, p in optimizer.items()},
        **{f"totals.{name}": p for name, p in run.totals.items()},
        "generator.order": order_state,
        "generator.encoder": run.encoder_generator.get_state(),
        **{f"method.{name}": value for name, value in run.method.state_dict().items()},
    }
    meta = {
        "config": run.config.to_json(),
        "thresholds": [p.v_th for p in run.network.neurons],
        "param_groups": groups,
        "scheduler": run.scheduler.state_dict(),
        **{name: getattr(position, name) for name in _SAVED},
    }
    checkpoint.save(run.folder.checkpoint, tensors, meta)


def restore(run: Run) -> None:
    """Put a new run where its checkpoint stands.

    Raises:
        InputError: a checkpoint that is damaged, or of another run; the run is then of no use.
    """
    path = run.folder.checkpoint
    tensors, meta = checkpoint.load(path)
    check_config(run.config, meta, run.folder)
    content = Content(path, tensors, meta, run.config.method.score)
    epochs = content.count("epoch", run.config.optimizer.epochs)
    step = content.count("step", run.steps_per_epoch)
    steps = epochs * run.steps_per_epoch + step
    seconds = content.seconds()
    position = Position(epochs, step, None, seconds, content.count("forward_passes"), content.history(epochs), content.best(epochs))
    thresholds = content.thresholds(len(run.network.neurons))
    weights = {name: content.weights(name, run.network) for name in ("model", "average", "best")}
    groups = content.groups(run.optimizer)
    optimizer = content.optimizer_state(run.optimizer, steps)
    scheduler = content.scheduler(run.scheduler.state_dict(), steps, [group["lr"] for group in groups])
    totals = content.totals(run.network, step)
    generators = checkpoint.part(tensors, "generator")
    ours = {"order": run.order_generator.get_state(), "encoder": run.encoder_generator.get_state()}
    content.alike("generator", generators, ours)
    method = checkpoint.part(tensors, "method")
    content.alike("method", method, run.method.state_dict())
    used = sum(len(group) for group in (*weights.values(), optimizer, totals, generators, method))
    content.require(used == len(tensors), "it holds tensors that no run has")

    run.network.load_state_dict(weights["model"])
    try:
        run.network.neurons[:] = with_thresholds(run.network.neurons, thresholds)
        run.order_generator.set_state(generators["order"])
        run.encoder_generator.set_state(generators["encoder"])
        run.method.load_state_dict(method)
    except (RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.damaged(path, str(error)) from None
    for mine, theirs in ((run.average, weights["average"]), (run.best_weights, weights["best"])):
        for name in mine:
            mine[name].copy_(theirs[name])
    checkpoint.unpack_optimizer(run.optimizer, optimizer, groups)
    run.scheduler.load_state_dict(scheduler)
    run.totals = {name: value.to(run.network.weights[0].device) for name, value in totals.items()}
    position.order_state = generators["order"]
    run.position = position

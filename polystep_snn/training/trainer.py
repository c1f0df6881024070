"""The training loop. One seed decides a run; a run that was killed goes on bit for bit."""

import json
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import polystep_snn
from polystep_snn.datasets import Dataset
from polystep_snn.datasets.base import Part
from polystep_snn.datasets.own.record import DataRecord, record_of
from polystep_snn.engine.threads import taken_from_torch
from polystep_snn.errors import InputError
from polystep_snn.files import make_folder, write_json, write_text
from polystep_snn.folder_lock import FolderLock
from polystep_snn.polystep.method import Method, StepResult
from polystep_snn.snn.calibrate import calibrate_thresholds
from polystep_snn.snn.frames import Frames
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training import run_state
from polystep_snn.training.build import build_cost, build_network, build_optimizer, build_polystep, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import make_feed
from polystep_snn.training.metrics import Evaluation, evaluate, health_warnings, layer_health, peak_rss_mb
from polystep_snn.training.observer import Observer
from polystep_snn.training.run_folder import RunFolder
from polystep_snn.training.run_state import Position
from polystep_snn.training.scores import scores_of
from polystep_snn.training.standardize import InputStatistics, StandardizedInputs
from polystep_snn.training.workers import Workers

# Seconds between checkpoints within an epoch; there is one at the end of every epoch anyway.
_CHECKPOINT_INTERVAL_S = 60.0
_CALIBRATION_SAMPLES = 256


class Trainer:
    """A run: data, network, optimizer, and the folder that holds it.

    Args:
        config: everything that decides the run.
        out: its folder; created, and refused where it already holds a run (unless ``resume``).
        dataset: the data.
        resume: go on from the folder's checkpoint.
        observer: is told how it goes.
        record: what is to be remembered of the data; made of it where it is None.
        make_method: what fills the gradients; another one for comparisons.

    Attributes:
        network: the network that is trained.
        stop_requested: set it from anywhere to have the run finish its step, save, and return.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: Path | str,
        dataset: Dataset,
        resume: bool = False,
        observer: Observer | None = None,
        make_method: Callable[[TrainConfig, SpikingNetwork], Method] = build_polystep,
        record: DataRecord | None = None,
    ):
        self.folder = RunFolder(Path(out))
        self.observer = observer or Observer()
        self.config = config = resolve(config)
        if dataset.name != config.data.dataset:
            raise InputError(f"the data is {dataset.name}, but the configuration says {config.data.dataset}: name the same")
        self.dataset = dataset
        self.targets = None if record is None else record.targets
        torch.set_num_threads(config.run.threads)
        self.device = torch.device(config.run.device)
        self.workers = Workers.join(self.device)
        self.workers.check(config.optimizer.batch_size)
        self.feed = make_feed(config, dataset.train, training=True)
        self.steps_per_epoch = len(dataset.train) // config.optimizer.batch_size
        if not self.steps_per_epoch:
            raise InputError(
                f"batch_size is {config.optimizer.batch_size}, but {dataset.name} has {len(dataset.train)} training samples: choose a "
                "smaller batch"
            )

        self.network = build_network(config, dataset.train.shape, dataset.num_classes)
        self.inputs: StandardizedInputs | None = None
        if config.optimizer.standardize:
            statistics = InputStatistics.of(make_feed(config, dataset.train), config.run.seed)
            self.inputs = StandardizedInputs(self.network.weights[0], self.network.biases[0], statistics)
            if not resume:
                self.inputs.fold()
        if not config.network.v_th and not resume:
            calibrate_thresholds(self.network, self._calibration_frames)
        self.method = make_method(config, self.network)
        self.optimizer = build_optimizer(config, self.network)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, config.optimizer.epochs * self.steps_per_epoch)
        self.cost = build_cost(config)
        self.order_generator = torch.Generator().manual_seed(config.run.seed)
        self.encoder_generator = torch.Generator(self.device).manual_seed(config.run.seed)
        self.average = {name: p.detach().clone() for name, p in self.network.state_dict().items()}
        self.best_weights = {name: p.clone() for name, p in self.average.items()}
        self.totals: dict[str, Tensor] = {}
        self.position = Position()
        self.stop_requested = False

        self.lock: FolderLock | None = None
        if self.workers.rank == 0:
            if not resume:
                make_folder(self.folder.path)
            self.lock = self.folder.lock("trains")
        if resume:
            run_state.restore(self)
        elif self.workers.rank == 0:
            if self.folder.checkpoint.exists():
                raise InputError(f"{self.folder.path} already holds a run: go on with --resume, or choose another folder")
            write_json(self.folder.config, config.to_json())
            write_json(self.folder.data, (record or record_of(dataset)).to_json())
            self.save()

    def fit(self) -> dict[str, Any] | None:
        """Train to the end, then look at the test set once, with the weights of the epoch that scored best on validation, or with the last
        ones, as ``keep`` says.

        Returns:
            The summary; None if the run was stopped before its end.

        Raises:
            InputError: files that cannot be written, weights that became NaN.
        """
        try:
            return self._fit()
        finally:
            if self.lock is not None:
                self.lock.release()

    def _fit(self) -> dict[str, Any] | None:
        started = last_saved = time.monotonic()
        seconds_before = self.position.seconds
        if self.position.order_state is not None:
            self.order_generator.set_state(self.position.order_state)
        while self.position.epoch < self.config.optimizer.epochs:
            self.position.order_state = self.order_generator.get_state()
            order = self._order()
            self.observer.epoch_begins(self.position.epoch + 1, self.position.step, self.steps_per_epoch)
            while self.position.step < self.steps_per_epoch:
                with self._threads():
                    self._step(order)
                self.position.seconds = seconds_before + time.monotonic() - started
                self.observer.step_done()
                if self.stop_requested or time.monotonic() - last_saved > _CHECKPOINT_INTERVAL_S:
                    self.save()
                    last_saved = time.monotonic()
                if self.stop_requested:
                    return None
            self._end_epoch()
            self.position.seconds = seconds_before + time.monotonic() - started
            self.save()
            last_saved = time.monotonic()
            self._write_metrics()
        return self._finish()

    def _order(self) -> Tensor:
        """Which samples an epoch sees, one after the other: all of them once, or samples of each class equally often."""
        if self.config.optimizer.class_weights == "none":
            return torch.randperm(len(self.feed), generator=self.order_generator)
        labels = torch.from_numpy(self.dataset.train.labels.astype(np.int64))
        weights = 1.0 / torch.bincount(labels).double()[labels]
        return torch.multinomial(weights, len(labels), replacement=True, generator=self.order_generator)

    def _threads(self) -> AbstractContextManager[None]:
        """Where loops compute, all threads are theirs: those of torch keep a core busy for a while after they are done."""
        kernels = getattr(self.method, "kernels", None)
        return taken_from_torch() if kernels is not None and kernels.loops else nullcontext()

    def _calibration_frames(self) -> Frames:
        """The first training samples of the first epoch, encoded with the seed's randomness."""
        generator = torch.Generator(self.device).manual_seed(self.config.run.seed)
        return self.feed.batch(torch.arange(min(_CALIBRATION_SAMPLES, len(self.feed))), generator=generator)[0]

    def _step(self, order: Tensor) -> None:
        config, position = self.config, self.position
        batch = order[position.step * config.optimizer.batch_size : (position.step + 1) * config.optimizer.batch_size]
        done = position.epoch * self.steps_per_epoch + position.step
        frames, labels = self.workers.share(*self.feed.batch(batch, position.epoch, self.encoder_generator))
        position.forward_passes += self.method.evaluations
        result = self.method.step(frames, labels, done / (config.optimizer.epochs * self.steps_per_epoch))
        # Where costs were averaged already, all processes have the same gradients, and keep them.
        # Whether to stop travels along: all processes stop after the same step.
        stop = torch.tensor(float(self.stop_requested), device=self.device)
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        self.workers.average([*grads, result.loss, result.accuracy, *result.rates, stop])
        self.stop_requested = bool(stop)
        with self.inputs.unfolded() if self.inputs is not None else nullcontext():
            self.optimizer.step()
        self.scheduler.step()
        # A running average whose window grows to its full length, so that it forgets the initial weights.
        decay = min(config.optimizer.averaging, (1 + done) / (10 + done))
        mean = [self.average[name] for name, _ in self.network.named_parameters()]
        torch._foreach_lerp_(mean, [p.detach() for p in self.network.parameters()], 1.0 - decay)
        self._add(result)
        position.step += 1

    def _add(self, result: StepResult) -> None:
        """Sums over the steps of an epoch: loss, accuracy, firing rates of the layers that the method tells them of."""
        rates = {f"rates.{k}": rate for k, rate in enumerate(result.rates)}
        for name, value in {"loss": result.loss, "accuracy": result.accuracy, **rates}.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def _end_epoch(self) -> None:
        position, steps = self.position, self.steps_per_epoch
        score, name = self._evaluate(self.average, self.dataset.validation), self.config.method.score
        names = (f"rates.{k}" for k in range(len(self.network.wirings)))
        health = [layer_health(self.totals[name] / steps) for name in names if name in self.totals]
        metrics = {
            "epoch": position.epoch + 1,
            "seconds": round(position.seconds, 3),
            "train_loss": self.totals["loss"].item() / steps,
            f"train_{name}": self.totals["accuracy"].item() / steps,
            "val_loss": score.loss,
            f"val_{name}": score.accuracy,
            "forward_passes": position.forward_passes,
            "peak_rss_mb": round(peak_rss_mb(), 1),
            "firing_rates": [round(h.rate, 6) for h in health],
            "dead_neurons": [h.dead for h in health],
            "saturated_neurons": [h.saturated for h in health],
        }
        best, keeps_last = position.best, self.config.optimizer.keep == "last"
        # Equal accuracies are told apart by their loss.
        if keeps_last or best is None or (score.accuracy, -score.loss) > (best[f"val_{name}"], -best["val_loss"]):
            position.best = {"epoch": position.epoch + 1, f"val_{name}": score.accuracy, "val_loss": score.loss}
            self.best_weights = {name: p.clone() for name, p in self.average.items()}
        position.history.append(metrics)
        position.epoch += 1
        position.step = 0
        position.order_state = None
        self.totals = {}
        self.observer.epoch_done(metrics)
        for message in health_warnings(health, len(self.network.neurons)):
            self.observer.warn(message)

    def _evaluate(self, weights: dict[str, Tensor], samples: Part) -> Evaluation:
        network = deepcopy(self.network)
        network.load_state_dict(weights)
        return evaluate(network, make_feed(self.config, samples), self.cost)

    def _write_metrics(self) -> None:
        if self.workers.rank > 0:
            return
        write_text(self.folder.metrics, "".join(json.dumps(m) + "\n" for m in self.position.history))

    def _finish(self) -> dict[str, Any]:
        self._write_metrics()  # again, in case the run was killed between its last checkpoint and this file
        score = self._evaluate(self.best_weights, self.dataset.test)
        best = self.position.best
        assert best is not None
        summary = {
            "dataset": self.dataset.title,
            **scores_of(score, self.dataset.test.labels, self.dataset.num_classes, self.targets),
            f"val_{self.config.method.score}": best[f"val_{self.config.method.score}"],
            "epoch": best["epoch"],
            "epochs": self.config.optimizer.epochs,
            "seconds": round(self.position.seconds, 3),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "seed": self.config.run.seed,
            "versions": {"polystep_snn": polystep_snn.__version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        if self.workers.rank == 0:
            write_json(self.folder.summary, summary)
        return summary

    def save(self) -> None:
        """Write the checkpoint, see ``run_state.save``; only the first process does."""
        if self.workers.rank == 0:
            run_state.save(self)

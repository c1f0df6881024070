"""Memory and time of a real training step against the number of timesteps.

Every point is measured in processes of its own. The memory of a step is what it needs beyond the process as it stands between two
steps, gradients and what a method keeps for its next step given back: on the CPU the peak of the resident memory (the kernel's
high-water mark, reset before the step) over the resident memory before it; on CUDA the same of torch's allocator. Compiled code,
weights, the optimizer's state and the batch are there between steps, and are the same for all methods.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from polystep_snn.datasets.config import EVENTS, SEQUENCE
from polystep_snn.errors import InputError
from polystep_snn.training.config import TrainConfig

METHODS = ("polystep", "bptt")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_HIGH_WATER_MARK = "5"
# Large blocks go straight back to the system, so that what one step leaves in the allocator is not lent to the next unseen.
_STRICT_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_TIME_BUDGET_S = 2.0
_IMAGE_SHAPES = {"mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "digits": (1, 8, 8)}
# Events of a recording: N-MNIST's on average; of the others, which are not at hand, the order of magnitude.
_EVENTS = {"nmnist": 4000, "shd": 8000, "dvsgesture": 100_000}


@dataclass(frozen=True)
class Point:
    """What is measured at one point.

    Attributes:
        method: one of ``METHODS``; "polystep" is in the configuration's space.
        num_steps: T.
        config: of the run whose network and options are profiled, as JSON.
        num_classes: of its data.
        quantity: "memory" or "time".
        shape: of a sample, as of ``sample_shape``, of data of one's own; None for that of the data set.
    """

    method: str
    num_steps: int
    config: dict[str, Any]
    num_classes: int
    quantity: str
    shape: tuple[int, ...] | None = None


def sample_shape(config: TrainConfig) -> tuple[int, int, int]:
    """Channels, height and width of an image, or of a step of events or of a sequence, of the data set that a configuration names."""
    from polystep_snn.datasets import event_set
    from polystep_snn.training.build import build_framing

    framing, features = build_framing(config), config.data.speech_features()
    if features is not None:
        return features.num_groups, 1, features.bands
    return framing.shape(event_set(config.data.dataset).sensor) if framing else _IMAGE_SHAPES[config.data.dataset]


def num_classes(config: TrainConfig) -> int:
    """Of the data set that a configuration names."""
    from polystep_snn.datasets import event_set

    return len(event_set(config.data.dataset).classes) if config.data.encoder == EVENTS else 10


def measure(method: str, num_steps: int, config: dict[str, Any], num_classes: int, shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Peak memory and time of a step, from two fresh processes.

    Args:
        method, num_steps, config, num_classes, shape: as of ``Point``.

    Args:
        method: of ``METHODS``.
        num_steps: T.
        config: the run's, as ``TrainConfig.to_json`` gives it; its own number of steps does not count.
        num_classes: of its readout.

    Returns:
        ``{"method", "num_steps", "peak_mb" (10^6 bytes), "seconds_per_step"}``.

    Raises:
        InputError: a process that failed, with the last line that it said.
    """
    results = {}
    for quantity, environment in (("memory", _STRICT_ALLOCATOR), ("time", {})):
        point = Point(method, num_steps, {**config, "num_steps": num_steps}, num_classes, quantity, shape)
        command = [sys.executable, "-m", "polystep_snn.profiling", json.dumps(asdict(point))]
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{method} with {num_steps} timesteps failed ({reason}): choose fewer timesteps, or a smaller batch")
        results[quantity] = json.loads(done.stdout.splitlines()[-1])
    return {"method": method, "num_steps": num_steps, "peak_mb": results["memory"], "seconds_per_step": results["time"]}


def _make_step(point: Point):
    """A training step on a random batch: probing or backpropagation, then the optimizer."""
    import torch

    from polystep_snn.training.build import build_bptt, build_network, build_optimizer, build_polystep, resolve
    from polystep_snn.training.feed import ImageFeed, make_feed

    config = resolve(TrainConfig.from_json(point.config))
    torch.set_num_threads(config.run.threads)
    if point.method == "bptt" and config.network.neuron == "lif":
        config = config.replace(weight_bits=32)  # rounding has no derivative
    shape = sample_shape(config) if point.shape is None else tuple(point.shape)
    network = build_network(config, shape, point.num_classes)
    optimizer = build_optimizer(config, network)
    methods: dict[str, Callable[..., Any]] = {"polystep": build_polystep, "bptt": build_bptt}
    method = methods[point.method](config, network)
    feed = make_feed(config, _random_samples(config, point.num_classes, shape), training=True)
    generator, everything = torch.Generator(config.run.device).manual_seed(0), torch.arange(config.optimizer.batch_size)

    def batch():
        # Pixels are there between steps; of recordings, their events are.
        if isinstance(feed, ImageFeed):
            return feed.encoder(feed.intensities(), generator), feed.labels
        return feed.batch(everything, generator=generator)

    def step() -> None:
        method.step(*batch())
        optimizer.step()

    return step, network, getattr(method, "release", lambda: None), torch.device(config.run.device)


def _random_samples(config: TrainConfig, num_classes: int, shape: Any = None):
    """A batch of images of which a fifth of the pixels are on, as in MNIST, or of recordings with as many events as there may be."""
    import numpy as np

    from polystep_snn.datasets import Samples, Sequences
    from polystep_snn.datasets.events import EventSamples

    generator, n = np.random.default_rng(0), config.optimizer.batch_size
    labels = generator.integers(num_classes, size=n)
    if config.method.cost == "mse":
        labels = generator.normal(size=(n, num_classes)).astype(np.float32)
    shape = sample_shape(config) if shape is None else shape
    if config.data.encoder == SEQUENCE:
        values = generator.random((n, config.data.num_steps, prod(shape))) < 0.1
        return Sequences(values.astype(np.uint8 if shape[0] == 2 else np.float32), labels, num_groups=shape[0])
    if config.data.encoder != EVENTS:
        size = (n, *shape[1:]) if len(shape) == 3 and shape[0] == 1 else (n, *shape)
        images = generator.integers(1, 256, size) * (generator.random(size) < 0.2)
        return Samples(images.astype(np.uint8), labels)
    # How many events recordings of one's own have is not known: one in twenty places.
    each = _EVENTS.get(config.data.dataset, max(1, config.data.num_steps * prod(shape) // 20))
    ends = each * np.arange(1, n + 1)
    steps = np.sort(generator.integers(config.data.num_steps, size=(n, each)), 1).astype(np.uint16).ravel()
    channels = generator.integers(prod(shape), size=n * each).astype(np.uint16)
    return EventSamples(labels, steps, channels, ends - each, ends, np.arange(n), config.data.num_steps, shape, config.data.counts)


def _resident(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return 1024 * int(found[1])


def _peak_memory(step, network, release, device) -> float:
    """MB (10^6 bytes) that a step needs beyond what is there between steps."""
    import torch

    step()
    network.zero_grad(set_to_none=True)
    # What is kept for the next step is needed in this one.
    release()
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _CLEAR.write_text(_RESET_HIGH_WATER_MARK)
    except OSError:
        raise InputError("the peak of the resident memory cannot be reset on this system: profile on Linux, or on CUDA") from None
    before = _resident("VmRSS")
    step()
    # The kernel counts pages in batches: what needs next to nothing can seem to need less.
    return max(0, _resident("VmHWM") - before) / 1e6


def _seconds(step, device) -> float:
    """Median time of a step."""
    import torch

    step()
    step()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _TIME_BUDGET_S and len(times) < 200):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times)


def main(argument: str) -> None:
    """Measure one point and print the figure."""
    point = Point(**{f.name: json.loads(argument)[f.name] for f in fields(Point)})
    step, network, release, device = _make_step(point)
    figure = _peak_memory(step, network, release, device) if point.quantity == "memory" else _seconds(step, device)
    sys.stdout.write(json.dumps(figure) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

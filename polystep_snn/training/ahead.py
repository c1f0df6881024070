"""Loops are compiled while a run's data is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import torch

from polystep_snn.errors import InputError
from polystep_snn.snn.frames import EventFrames, Frames, with_blank_steps
from polystep_snn.spaces.node.step import NodeStep
from polystep_snn.training.build import build_encoder, build_network, build_polystep, resolve
from polystep_snn.training.config import TrainConfig

# Of an image, or of a sensor: what is compiled does not depend on it.
_SHAPE, _CLASSES = (2, 34, 34), 10


@contextmanager
def compiled_ahead(config: TrainConfig) -> Iterator[None]:
    """What is done within is done while a thread takes one step on made-up data, and thereby compiles what the run will need.

    Where there is nothing to compile, or such a step cannot be taken, nothing is done ahead.
    """
    ended = Event()
    thread = Thread(target=_step, args=(config, ended), name="polystep-ahead")
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        raise
    # The first step would wait for it in any case.
    thread.join()


def _step(config: TrainConfig, ended: Event) -> None:
    try:
        config = resolve(config)
        if config.run.device != "cpu" or config.method.space != "node" or not config.run.compile:
            return
        from polystep_snn.engine.loops.jit import stop_compiling_at

        stop_compiling_at(ended)
        shape = _SHAPE if config.data.holds_events or config.data.holds_sequences else (28, 28)
        network = build_network(config, shape, _CLASSES)
        method = build_polystep(config, network)
        assert isinstance(method, NodeStep)
        method.step(
            with_blank_steps(_batch(config, network.sizes[0]), config.data.blank_steps),
            _targets(config),
        )
    except (ImportError, InputError, RuntimeError, SystemExit):
        # Without numba there is nothing to compile; else the run itself says what is wrong, or has ended.
        return


def _targets(config: TrainConfig) -> torch.Tensor:
    size = config.optimizer.batch_size
    return torch.zeros(size, _CLASSES) if config.method.cost == "mse" else torch.arange(size) % _CLASSES


def _batch(config: TrainConfig, num_inputs: int) -> Frames:
    """As little as makes every loop run: images and events that are mostly zero."""
    size = config.optimizer.batch_size
    if config.data.holds_events:
        places = torch.arange(0, config.data.num_steps * size * num_inputs, num_inputs, dtype=torch.int64)
        values = torch.ones(len(places)) if config.data.counts else None
        return EventFrames(places, (config.data.num_steps, size, num_inputs), values)
    if config.data.holds_sequences:
        return Frames(torch.rand(config.data.num_steps, size, num_inputs).round(), config.data.num_steps)
    pixels = torch.zeros(size, 28 * 28)
    pixels[:, ::8] = 0.5
    return build_encoder(config)(pixels, torch.Generator().manual_seed(0))

"""Streams to adapt to without labels, and how they go by on the simulator. Statistics of clean data are gathered the same way."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import MARGIN_UNIT, KeptStatistics, RunningMoments, margins
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.input_neurons import CODES, received
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import Simulator
from polystep_snn.hardware.unlabelled import Adaptation, Observed

_CHUNK = 256


class Stream(Protocol):
    """Samples in the order in which they come."""

    def __len__(self) -> int: ...

    def received(self, part: slice) -> np.ndarray | None:
        """What input neurons receive of a part of B samples, ``[B, M]`` int32; None where the network takes spikes."""

    def spikes(self, part: slice, network: IntegerNetwork) -> np.ndarray:
        """Of a part of B samples, ``[T, B, M]`` uint8; of a network's input neurons where it has them."""


class ImageStream:
    """Images: intensities ``[S, M]`` float32 in [0, 1] (more dimensions are flattened), for a network with a rate or a latency code.

    Raises:
        InputError: another form, values outside [0, 1], or NaN.
    """

    def __init__(self, images: np.ndarray):
        if not isinstance(images, np.ndarray) or images.dtype != np.float32 or images.ndim < 2:
            given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
            raise InputError(f"a stream of images is {given}: give float32 intensities [S, ...]")
        self.images = images.reshape(len(images), -1)
        for start in range(0, len(images), _CHUNK):
            received(self.images[start : start + _CHUNK])

    def __len__(self) -> int:
        return len(self.images)

    def received(self, part: slice) -> np.ndarray:
        """See ``Stream``."""
        return received(self.images[part])

    def spikes(self, part: slice, network: IntegerNetwork) -> np.ndarray:
        """See ``Stream``."""
        return encode(network.encoder, network.num_steps, self.images[part], network.input_neurons)


class SpikeStream:
    """Spikes, for any network: S samples, of which ``spikes`` gives those with some numbers ``[B]`` as ``[T, B, M]`` uint8."""

    def __init__(self, spikes: Callable[[np.ndarray], np.ndarray], num_samples: int):
        self._spikes, self._num_samples = spikes, num_samples

    def __len__(self) -> int:
        return self._num_samples

    def received(self, part: slice) -> None:
        """See ``Stream``: there are no input neurons."""

    def spikes(self, part: slice, network: IntegerNetwork) -> np.ndarray:
        """See ``Stream``."""
        return self._spikes(np.arange(*part.indices(self._num_samples)))


def check_stream(stream: Stream, network: IntegerNetwork, window: int) -> None:
    """InputError unless a network takes such a stream, and it is as long as a window."""
    if len(stream) < window:
        raise InputError(f"the stream has {len(stream)} samples, statistics need a window of {window}: give more, or a smaller window")
    images = isinstance(stream, ImageStream)
    if images != (network.encoder in CODES):
        wanted = "images, which its input neurons receive" if network.encoder in CODES else "spikes"
        raise InputError(f"the network's code is {network.encoder!r}: give a stream of {wanted}")
    if isinstance(stream, ImageStream) and stream.images.shape[1] != network.sizes[0]:
        raise InputError(
            f"the network takes samples of {network.sizes[0]} values, these have {stream.images.shape[1]}: choose its own data"
        )


def adapt(adaptation: Adaptation, stream: Stream, on_samples: Callable[[int], None] = lambda count: None) -> None:
    """A whole stream goes by.

    Args:
        adaptation: changed in place. It may have seen other streams before.
        stream: what comes.
        on_samples: called with the number of samples shown so far.

    Raises:
        InputError: a stream that is not the network's; spikes of another form.
    """
    check_stream(stream, adaptation.deployed, 1)
    own, beside, start = None, None, 0
    while start < len(stream):
        if own is None or own.network is not adaptation.own:
            own = Simulator(adaptation.own)
        if beside is None or beside.network is not adaptation.beside:
            beside = own if adaptation.beside is adaptation.own else Simulator(adaptation.beside)
        part = slice(start, min(start + min(_CHUNK, adaptation.left), len(stream)))
        observed = observe(own, stream, part)
        adaptation.show(stream.received(part), observed, observed if beside is own else observe(beside, stream, part))
        start = part.stop
        on_samples(start)


def observe(simulator: Simulator, stream: Stream, part: slice) -> Observed:
    """What a network shows of some samples."""
    return Observed(*simulator.observe(stream.spikes(part, simulator.network)))


def statistics(network: IntegerNetwork, stream: Stream) -> KeptStatistics:
    """What a network's neurons receive of a stream, and its margins.

    Raises:
        InputError: a stream that is not the network's, or of fewer than two samples.
    """
    check_stream(stream, network, 2)
    simulator, populations = Simulator(network), [RunningMoments(size) for size in network.population_sizes]
    margin = 0
    for start in range(0, len(stream), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(stream)))
        inputs, observed = stream.received(part), observe(simulator, stream, part)
        gathered = [*([] if inputs is None else [inputs]), *observed.sums]
        for population, values in zip(populations, gathered, strict=True):
            population.add(values)
        margin += int(margins(observed.values).sum())
    kept = tuple(population.moments() for population in populations)
    return KeptStatistics(kept, max(0, round(MARGIN_UNIT * margin / len(stream))))

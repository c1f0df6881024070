"""The Lava backend, for any Python: the numbers of ``Simulator``, computed by Lava's own models in a process of their own."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from polystep_snn.errors import BackendError, InputError
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.lava import lesson_message
from polystep_snn.hardware.lava.adaptation_message import conclude
from polystep_snn.hardware.lava.protocol import MAX_ARRAY_BYTES
from polystep_snn.hardware.lava.worker_process import LavaWorker
from polystep_snn.hardware.learning_rule import with_parameters
from polystep_snn.hardware.lesson import Lesson, check_lesson
from polystep_snn.hardware.network_file import save
from polystep_snn.hardware.simulator import RECORDED_BYTES, LayerRecording, Recording, Simulator, check_spikes, value_of
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import ImageStream, Stream, check_stream

# Nothing here has run on a chip: its first samples are held against the simulator, in every run.
_CHECKED_ON_CHIP = 8
# Samples encoded at a time.
_ENCODED = 256
_numbers = count()


class LavaBackend:
    """Runs batches of spike trains through an integer network in Lava: one compiled graph and one run for a whole batch.

    An error ends the worker; the next call starts another one.

    Attributes:
        name: "lava", or "loihi2".
        network: what is run.
        reason: why this backend was chosen, where that was left open.
    """

    def __init__(
        self,
        network: IntegerNetwork,
        timeout_s: float = 60.0,
        on_progress: Callable[[int], None] | None = None,
        on_chip: bool = False,
        worker: LavaWorker | None = None,
    ):
        """
        Args:
            network: what to run.
            timeout_s: longest time without a step before a call fails, up to 1e6. Compiling counts.
            on_progress: called a few times a second with the number of samples that are through.
            on_chip: on Loihi 2, through Intel's extension, instead of in Lava's models. Has never been run.
            worker: one to share with other networks, one call at a time; it stays open. Without it this backend has its own.

        Raises:
            InputError: no such time; no Python with Lava; a layer whose currents 32 bits cannot hold; no Intel's extension; a network that
                cannot be read from the chip.
            BackendError: the worker does not start.
        """
        self.name, self.network, self.reason = "loihi2" if on_chip else "lava", network, ""
        self._simulator = Simulator(network)
        self._timeout_s, self._on_progress, self._on_chip = timeout_s, on_progress, on_chip
        self._shared = worker
        self._own: LavaWorker | None = None
        self._file = f"network-{next(_numbers)}.safetensors"
        worker = self._worker()
        if on_chip:
            try:
                self._check_chip(worker)
            except InputError:
                self.close()
                raise

    def run(self, spikes: np.ndarray) -> np.ndarray:
        """What the readout says at the end of each sample, as ``Simulator.run``.

        Raises:
            InputError: spikes of another shape or dtype, or other values.
            BackendError: the run failed; the message says of what.
        """
        check_spikes(spikes, self.network)
        if not spikes.shape[1]:
            return np.empty((0, self.network.sizes[-1]), np.int32)
        values = self._run(spikes, record=False)["values"]
        if self._on_chip:
            self._check_values(spikes, values)
        return values

    def record(self, spikes: np.ndarray) -> Recording:
        """As ``run``, with every spike, current and membrane, as ``Simulator.record``.

        Raises:
            InputError: as for ``run``; more than a message holds, 2 GiB; on the chip.
            BackendError: the run failed.
        """
        check_spikes(spikes, self.network)
        if self._on_chip:
            raise InputError("currents and membranes are not read from the chip: record with the simulator or lava")
        num_steps, num_samples, _ = spikes.shape
        size = RECORDED_BYTES * num_steps * sum(self.network.sizes[1:])
        if size * num_samples > MAX_ARRAY_BYTES:
            raise InputError(f"{num_samples} samples fill {size * num_samples} bytes: record at most {MAX_ARRAY_BYTES // size} at a time")
        if not num_samples:
            return self._simulator.record(spikes)
        arrays = self._run(spikes, record=True)

        def in_time(name: str) -> np.ndarray:
            """[B * T, N] -> [T, B, N]"""
            return np.ascontiguousarray(arrays[name].reshape(num_samples, num_steps, -1).swapaxes(0, 1))

        layers = tuple(LayerRecording(*(in_time(f"{name}{k}") for name in "zuv")) for k in range(len(self.network.layers)))
        last = layers[-1]
        return Recording(layers, value_of(self.network.readout, last))

    def learn(
        self,
        lesson: Lesson,
        spikes: Callable[[np.ndarray], np.ndarray],
        save_to: Path | None = None,
        every: int = 50,
        on_samples: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Carry out a lesson inside Lava: one compiled graph and one run, whose numbers are those of ``on_chip.learn``.

        Args:
            lesson: on this network, and new. Changed in place at the end; an error leaves it as it is.
            spikes: the spikes ``[T, B, M]`` uint8 of samples ``[B]``, by number; every sample is encoded once, before the run.
            save_to: a file to keep the network as it is while it learns, and as it was learned.
            every: updates between two of these.
            on_samples: called a few times a second with the number of samples shown so far.

        Raises:
            InputError: a lesson on another network, or one that has begun; spikes of another form, or more than a message holds; a file
                that cannot be written.
            BackendError: the run failed. The file holds a network that the run had, if it had come that far.
        """
        check_lesson(lesson, self.network, every)
        if self._on_chip:
            raise InputError("learning on the chip itself needs its embedded processors, for which there is no program: choose lava")
        fields, arrays = lesson_message.pack(lesson)
        numbers, order = np.unique(lesson.plan.samples, return_inverse=True)
        num_steps, num_samples = self.network.num_steps, len(order)
        self._check_size(len(numbers))
        rows = np.empty((len(numbers), num_steps, -(-self.network.sizes[0] // 8)), np.uint8)
        for start in range(0, len(numbers), _ENCODED):
            part = spikes(numbers[start : start + _ENCODED])
            check_spikes(part, self.network)
            rows[start : start + _ENCODED] = _packed(part)
        period = num_steps + ("hidden" in lesson.learner.names)

        def save_parameters(parameters: dict[str, np.ndarray]) -> None:
            if save_to is not None:
                save(save_to, with_parameters(self.network, parameters))

        results = self._request(
            fields | {"kind": "learn", "every": every},
            arrays | {"order": order.astype(np.int32), "rows": rows.reshape(-1, rows.shape[-1])},
            lambda step: on_samples(min(step // period, num_samples)),
            save_parameters,
        )
        lesson_message.conclude(lesson, results)
        save_parameters(lesson.learner.parameters)
        on_samples(num_samples)

    def adapt(self, adaptation: Adaptation, stream: Stream, on_samples: Callable[[int], None] = lambda count: None) -> None:
        """Have the network adapt inside Lava: one compiled graph and one run, whose registers are those of ``watching.adapt``.

        Args:
            adaptation: of this network, and new. Changed in place at the end; an error leaves it as it is.
            stream: what comes.
            on_samples: called a few times a second with the number of samples shown so far.

        Raises:
            InputError: another network, one that has begun to adapt, a stream that is not the network's or more than a message holds.
            BackendError: the run failed, or a register in Lava is another one than it should be.
        """
        adaptation.check_network(self.network)
        check_stream(stream, self.network, 1)
        if adaptation.shown:
            raise InputError(f"the network has adapted to {adaptation.shown} samples already: Lava starts with a new adaptation")
        if self._on_chip:
            raise InputError("adapting on the chip itself needs its embedded processors, for which there is no program: choose lava")
        num_steps, num_samples = self.network.num_steps, len(stream)
        if isinstance(stream, ImageStream):
            arrays = {"images": stream.images.view(np.int32)}
        else:
            self._check_size(num_samples)
            parts = [slice(start, start + _ENCODED) for start in range(0, num_samples, _ENCODED)]
            rows = np.concatenate([_packed(self._checked(stream.spikes(part, self.network))) for part in parts])
            arrays = {"rows": rows.reshape(-1, rows.shape[-1])}
        period = num_steps + len(self.network.layers)
        found = self._request(
            {"kind": "adapt", "rule": asdict(adaptation.rule)}, arrays, lambda step: on_samples(min(step // period, num_samples))
        )
        conclude(adaptation, stream, found)
        on_samples(num_samples)

    def _checked(self, spikes: np.ndarray) -> np.ndarray:
        check_spikes(spikes, self.network)
        return spikes

    def close(self) -> None:
        """End the worker, unless it is a shared one."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> "LavaBackend":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _worker(self) -> LavaWorker:
        if self._shared is not None:
            self._shared.check_open()
            return self._shared
        if self._own is None or not self._own.is_open:
            self._own = LavaWorker(self._timeout_s)
        return self._own

    def _run(self, spikes: np.ndarray, record: bool) -> dict[str, np.ndarray]:
        num_steps, num_samples, _ = spikes.shape
        self._check_size(num_samples)
        rows = _packed(spikes).reshape(num_steps * num_samples, -1)

        def on_step(step: int) -> None:
            if self._on_progress is not None:
                self._on_progress(min(step // num_steps, num_samples))

        return self._request({"kind": "run", "record": record, "on_chip": self._on_chip}, {"rows": rows}, on_step)

    def _request(self, fields: dict[str, Any], arrays: dict[str, np.ndarray], *calls: Callable[[Any], None]) -> dict[str, np.ndarray]:
        worker = self._worker()
        path = worker.folder / self._file
        if not path.exists():
            save(path, self.network)
        return worker.request(fields | {"network": str(path)}, arrays, *calls)

    def _check_size(self, num_samples: int) -> None:
        size = self.network.num_steps * -(-self.network.sizes[0] // 8)
        if num_samples * size > MAX_ARRAY_BYTES:
            raise InputError(f"{num_samples} samples fill {num_samples * size} bytes: give at most {MAX_ARRAY_BYTES // size} at a time")

    def _check_chip(self, worker: LavaWorker) -> None:
        if not worker.has_loihi2:
            raise InputError(
                "Loihi 2 needs Intel's Lava extension for it (lava-loihi), which Lava's environment does not have: "
                "install it there, or choose the lava backend"
            )
        if self.network.reads_membranes:
            raise InputError("the readout is read by its membranes, which are not read from the chip: train with spike counts")
        for k, layer in enumerate(self.network.layers):
            if layer.recurrent is not None or layer.max_delay:
                raise InputError(
                    f"layer {k} is {'delayed' if layer.recurrent is None else 'recurrent'}, and how its synapses on the chip forget "
                    "a sample's last spikes before the next one is not known: choose lava"
                )
            if layer.vth.min() != layer.vth.max():
                raise InputError(f"layer {k} has several thresholds, Lava's neurons on the chip have one: train with one a layer")

    def _check_values(self, spikes: np.ndarray, values: np.ndarray) -> None:
        expected = self._simulator.run(spikes[:, :_CHECKED_ON_CHIP])
        found = values[:_CHECKED_ON_CHIP]
        if not np.array_equal(found, expected):
            b, n = (int(i) for i in np.argwhere(found != expected)[0])
            raise BackendError(
                f"the chip differs from the simulator: sample {b}, neuron {n} gives {found[b, n]} instead of {expected[b, n]}"
            )


def _packed(spikes: np.ndarray) -> np.ndarray:
    """``[T, B, M]`` spikes as ``[B, T, ceil(M / 8)]`` bytes. Packed first: the transposition moves an eighth of them."""
    return np.packbits(spikes, axis=-1).swapaxes(0, 1)

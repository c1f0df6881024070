"""Where an integer network runs: the simulator, Lava, or Loihi 2. The same calls, and the same numbers, everywhere."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from polystep_snn.errors import BackendError as BackendError
from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file, on_chip, watching
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.lesson import Lesson, check_lesson
from polystep_snn.hardware.simulator import Recording, Simulator
from polystep_snn.hardware.unlabelled import Adaptation
from polystep_snn.hardware.watching import Stream

BACKENDS = ("simulator", "lava", "loihi2")


class Backend(Protocol):
    """Something that runs an integer network.

    Attributes:
        name: one of ``BACKENDS``.
        network: what it runs.
        reason: why it was chosen, where ``open_backend`` was asked to choose; else empty.
    """

    name: str
    network: IntegerNetwork
    reason: str

    def run(self, spikes: np.ndarray) -> np.ndarray:
        """``[T, B, M]`` 0/1 spikes -> ``[B, C]`` int32: the readout's final or largest membranes, or its spike counts."""

    def record(self, spikes: np.ndarray) -> Recording:
        """As ``run``, with every spike, current and membrane of every layer and step."""

    def learn(
        self,
        lesson: Lesson,
        spikes: Callable[[np.ndarray], np.ndarray],
        save_to: Path | None = None,
        every: int = 50,
        on_samples: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Carry out a new lesson on the network, changed in place: the same everywhere, bit for bit.

        Args:
            spikes: the spikes ``[T, B, M]`` uint8 of samples ``[B]``, by number.
            save_to: a file that holds the network as it is while it learns, after every so many updates, and as it was learned.
            every: updates between two of these.
            on_samples: called now and then with the number of samples shown so far.
        """

    def adapt(self, adaptation: Adaptation, stream: Stream, on_samples: Callable[[int], None] = lambda count: None) -> None:
        """Have the network adapt to a stream without labels, changed in place: the same everywhere, every register.

        Args:
            adaptation: of the network that this backend runs.
            stream: what comes.
            on_samples: called now and then with the number of samples shown so far.
        """

    def close(self) -> None:
        """Give back what it holds. Closing twice does nothing."""

    def __enter__(self) -> "Backend": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...


class SimulatorBackend:
    """The bit-exact simulator, in this process."""

    def __init__(self, network: IntegerNetwork, reason: str = ""):
        """Raises InputError where a layer's currents do not fit 32 bits."""
        self.name, self.network, self.reason = "simulator", network, reason
        self._simulator = Simulator(network)

    def run(self, spikes: np.ndarray) -> np.ndarray:
        return self._simulator.run(spikes)

    def record(self, spikes: np.ndarray) -> Recording:
        return self._simulator.record(spikes)

    def learn(
        self,
        lesson: Lesson,
        spikes: Callable[[np.ndarray], np.ndarray],
        save_to: Path | None = None,
        every: int = 50,
        on_samples: Callable[[int], None] = lambda count: None,
    ) -> None:
        check_lesson(lesson, self.network, every)
        saved = lesson.learner.updates // every

        def save() -> None:
            if save_to is not None:
                network_file.save(save_to, lesson.learner.learned())

        def shown(count: int) -> None:
            nonlocal saved
            if lesson.learner.updates // every != saved:
                saved = lesson.learner.updates // every
                save()
            on_samples(count)

        on_chip.learn(lesson, spikes, shown)
        save()

    def adapt(self, adaptation: Adaptation, stream: Stream, on_samples: Callable[[int], None] = lambda count: None) -> None:
        adaptation.check_network(self.network)
        watching.adapt(adaptation, stream, on_samples)

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> "SimulatorBackend":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def open_backend(name: str, network: IntegerNetwork, timeout_s: float = 60.0, on_progress: Callable[[int], None] | None = None) -> Backend:
    """A backend that is ready to run a network; close it, or use it in a ``with``.

    Args:
        name: "simulator", "lava", "loihi2", or "auto": Lava where it is installed, else the simulator; ``reason`` says which and why.
        network: what to run.
        timeout_s: of Lava: longest time without a step before a call fails.
        on_progress: of Lava: called a few times a second with the number of samples that are through.

    Raises:
        InputError: no such backend, or not here; a layer whose currents do not fit 32 bits.
        BackendError: Lava is here and does not start.
    """
    if name == "simulator":
        return SimulatorBackend(network)
    if name not in (*BACKENDS, "auto"):
        raise InputError(f"there is no backend {name!r}: choose one of {', '.join(BACKENDS)}, auto")
    from polystep_snn.hardware.lava.client import LavaBackend
    from polystep_snn.hardware.lava.worker_process import find_python

    if name == "auto":
        try:
            python = find_python()
        except InputError as error:
            return SimulatorBackend(network, f"the simulator, since {error}")
        backend = LavaBackend(network, timeout_s, on_progress)
        backend.reason = f"Lava, in {python}"
        return backend
    return LavaBackend(network, timeout_s, on_progress, on_chip=name == "loihi2")

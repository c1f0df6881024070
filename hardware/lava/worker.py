"""The worker: ``python -I -m polystep_snn.hardware.lava.worker DESCRIPTOR FOLDER`` on Python 3.10, started by ``worker_process.py``.

Reads requests from the socket DESCRIPTOR, runs them, answers; works in FOLDER, its own and empty. What Lava prints goes to standard
output and error, never to the socket. Answers have a ``kind``: first ``ready`` or ``unfit`` (with a ``message``); then for a request
any number of ``progress`` (``step``; some of a learning network hold its parameters), and ``done`` (the arrays) or ``failed``
(``message``), after which nothing can be run any more.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np

from polystep_snn import __version__
from polystep_snn.errors import BackendError
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.lava import lesson_message, lifeline, protocol
from polystep_snn.hardware.network_file import load
from polystep_snn.hardware.transport_rule import TransportRule
from polystep_snn.hardware.unlabelled import Adaptation

_PROGRESS_S = 0.25


class Worker:
    """One request after the other."""

    def __init__(self, client: socket.socket, folder: Path):
        self._client, self._folder = client, folder
        self._requests: queue.SimpleQueue[protocol.Message] = queue.SimpleQueue()
        self._path = ""
        self._network: IntegerNetwork | None = None

    def serve(self) -> None:
        """Say what is here, then serve until the client is gone; that ends the process."""
        try:
            import lava.utils.loihi

            from polystep_snn.hardware.lava.adapting_graph import AdaptingGraph
            from polystep_snn.hardware.lava.graph import Graph
            from polystep_snn.hardware.lava.learning_graph import LearningGraph

            self._graph, self._learning_graph, self._adapting_graph = Graph, LearningGraph, AdaptingGraph
        except ImportError as error:
            self._answer("unfit", message=str(error))
        else:
            self._answer("ready", version=__version__, loihi2=lava.utils.loihi.is_installed())
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        while True:
            self._run(self._requests.get())

    def _listen(self) -> None:
        """Take requests in, so that the client's end is noticed whatever this process is doing."""
        try:
            while True:
                self._requests.put(protocol.receive(self._client))
        except (EOFError, OSError, protocol.ProtocolError):
            lifeline.end(self._folder)

    def _run(self, request: protocol.Message) -> None:
        try:
            network = self._load(request.fields["network"])
            self._told, self._step = time.monotonic(), 0
            kinds = {"run": self._forward, "learn": self._learn, "adapt": self._adapt}
            arrays = kinds[request.fields["kind"]](network, request)
        except Exception as error:
            traceback.print_exc()
            self._answer("failed", message=str(error) if isinstance(error, BackendError) else f"{type(error).__name__}: {error}")
        else:
            self._answer("done", arrays)

    def _forward(self, network: IntegerNetwork, request: protocol.Message) -> dict[str, np.ndarray]:
        graph = self._graph(network, request.arrays["rows"], request.fields["record"], request.fields["on_chip"])
        graph.run(self._progress)
        return graph.arrays

    def _learn(self, network: IntegerNetwork, request: protocol.Message) -> dict[str, np.ndarray]:
        lesson = lesson_message.unpack(network, request)
        graph = self._learning_graph(lesson, request.arrays["rows"], request.fields["every"])
        graph.run(self._progress, lambda parameters: self._answer("progress", parameters, step=self._step))
        return graph.arrays

    def _adapt(self, network: IntegerNetwork, request: protocol.Message) -> dict[str, np.ndarray]:
        adaptation = Adaptation(network, TransportRule(**request.fields["rule"]))
        images = request.arrays.get("images")
        # Messages hold no floating point: the same bytes, as int32.
        graph = self._adapting_graph(adaptation, None if images is None else images.view(np.float32), request.arrays.get("rows"))
        graph.run(self._progress)
        return graph.arrays

    def _load(self, path: str) -> IntegerNetwork:
        if path != self._path or self._network is None:
            self._path, self._network = path, load(Path(path))
        return self._network

    def _progress(self, step: int) -> None:
        """At most a few times a second, and only of steps that were made: silence is how a hung run shows."""
        if step != self._step and time.monotonic() - self._told > _PROGRESS_S:
            self._told, self._step = time.monotonic(), step
            self._answer("progress", step=step)

    def _answer(self, kind: str, arrays: dict[str, np.ndarray] | None = None, **fields: str | int | bool) -> None:
        try:
            protocol.send(self._client, {"kind": kind, **fields}, arrays)
        except OSError:
            lifeline.end(self._folder)


def main() -> None:
    descriptor, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.set_inheritable(descriptor, False)
    # Whatever the client ignores or blocks: this one has to end when told to.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    lifeline.tie_to_parent(folder)
    lifeline.tie_children(descriptor)
    Worker(socket.socket(fileno=descriptor), folder).serve()


if __name__ == "__main__":
    main()

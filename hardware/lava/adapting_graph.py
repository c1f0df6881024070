"""A network that adapts without labels as a graph of Lava Processes, compiled once and run once over a whole stream.

::

    source ──> weights ──> WatchedNeurons ──> weights ──> WatchedNeurons (readout)
      │ ^                     │ sums  ^                       │ values
      │ └─────────────────────│───────┴── thresholds, biases ─│──┐
      └───── intensities ─────┴───────────────────────────────┴──┴── AdapterProcess

All of it but the last stands there twice: the network that decides, and the one beside it. A sample's period is T, a step for each layer
behind the first, and one more: so a sample's last values have arrived, and registers are written, before the next one begins.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.core.run_configs import Loihi2SimCfg

from polystep_snn.errors import InputError
from polystep_snn.hardware.input_neurons import InputNeurons
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.lava.adaptation_message import NETWORKS, registers
from polystep_snn.hardware.lava.execution import run, shared
from polystep_snn.hardware.lava.graph import lossless, synapses
from polystep_snn.hardware.lava.processes.adapter import MOST_LAYERS, AdapterProcess
from polystep_snn.hardware.lava.processes.sampled import SampledSource
from polystep_snn.hardware.lava.processes.synapses import RecurrentDense
from polystep_snn.hardware.lava.processes.watched import IntensitySource, WatchedNeurons
from polystep_snn.hardware.unlabelled import Adaptation


class AdaptingGraph:
    """The Processes of one adaptation, connected.

    Attributes:
        arrays: what the run fills, int32: ``own_sums_0`` [S, N], …, ``own_values`` [S, C], the same of ``beside``, and the registers of
            both as they are read at the end.
        period: time steps of a sample.
    """

    def __init__(self, adaptation: Adaptation, images: np.ndarray | None, rows: np.ndarray | None):
        """
        Args:
            adaptation: a new one. It stays as it is: Lava's processes are forked from this one.
            images: ``[S, M]`` float32 intensities, for a network with input neurons; or
            rows: ``[S * T, ceil(M / 8)]`` uint8 spikes, packed.

        Raises:
            InputError: more layers than there are ports for.
        """
        network = adaptation.deployed
        if len(network.layers) > MOST_LAYERS:
            raise InputError(f"the network has {len(network.layers)} layers: in Lava {MOST_LAYERS} adapt at most")
        self._network, self._images, self._rows = network, images, rows
        samples = images if images is not None else rows
        assert samples is not None
        self._num_samples = len(samples) // (1 if images is not None else network.num_steps)
        last = len(network.layers) - 1
        self.period = network.num_steps + last + 1
        first_step = 1 + last + network.num_steps
        self.clock = shared((1,), np.int64)
        self.arrays = {f"{who}_values": shared((self._num_samples, len(network.classes)), np.int32) for who in NETWORKS}
        for who in NETWORKS:
            for k, layer in enumerate(network.layers):
                self.arrays[f"{who}_sums_{k}"] = shared((self._num_samples, layer.num_neurons), np.int32)
            for name, values in registers(network).items():
                self.arrays[f"{who}_{name}"] = shared(values.shape, np.int32)
        self._adapter = AdapterProcess(
            adaptation=adaptation,
            has_inputs=images is not None,
            arrays=self.arrays,
            num_samples=self._num_samples,
            first_step=first_step,
            period=self.period,
            clock=self.clock,
            name="adapter",
        )
        for who in NETWORKS:
            self._add(who, network)
        self._num_lava_steps = (self._num_samples - 1) * self.period + first_step

    def _add(self, who: str, network: IntegerNetwork) -> None:
        """One of the two networks, with its source."""
        port = self._source(who)
        for k, layer in enumerate(network.layers):
            neurons = WatchedNeurons(
                vth=layer.vth,
                # Arrays: a plain integer cannot be read or written while the graph runs.
                du=np.array([layer.du]),
                dv=np.array([layer.dv]),
                bias_mant=layer.bias_mant,
                bias_exp=np.full(layer.num_neurons, layer.bias_exp),
                num_steps=network.num_steps,
                period=self.period,
                first_step=2 + k,
                readout=network.readout,
                name=f"{who} layer {k}",
            )
            times: dict[str, Any] = {"num_steps": self.period, "first_step": 2 + k}
            synapses(layer, port, times, stock=False, name=f"{who} weights {k}").connect(neurons.a_in)
            port = neurons.s_out
            if layer.recurrent is not None:
                back = RecurrentDense(**lossless(layer, layer.recurrent), **times, name=f"{who} recurrent weights {k}")
                port.connect(back.s_in)
                back.a_out.connect(neurons.a_in)
            if k == len(network.layers) - 1:
                neurons.values_out.connect(getattr(self._adapter, f"{who}_values"))
            neurons.sums_out.connect(getattr(self._adapter, f"{who}_sums_{k}"))
            for name, var in (("vth", neurons.vth), ("bias_mant", neurons.bias_mant), ("bias_exp", neurons.bias_exp)):
                getattr(self._adapter, f"{who}_{name}_{k}").connect_var(var)

    def _source(self, who: str) -> Any:
        """The out port of what sends the samples."""
        times: dict[str, Any] = {"num_steps": self._network.num_steps, "period": self.period, "name": f"{who} source"}
        if self._images is None:
            assert self._rows is not None
            order = np.arange(self._num_samples)
            return SampledSource(rows=self._rows, order=order, num_channels=self._network.sizes[0], **times).s_out
        neurons = InputNeurons.of_code(self._network.sizes[0])
        source = IntensitySource(images=self._images, encoder=self._network.encoder, neurons=neurons, **times)
        if who == NETWORKS[0]:
            source.received_out.connect(self._adapter.received)
        getattr(self._adapter, f"{who}_input_vth").connect_var(source.vth)
        getattr(self._adapter, f"{who}_input_bias").connect_var(source.bias)
        return source.s_out

    def run(self, on_step: Callable[[int], None]) -> None:
        """Let the stream go by.

        Args:
            on_step: called every few milliseconds with the time step.

        Raises:
            BackendError: a model raised, or its process ended. Nothing more can be run in this process then.
        """
        run(self._adapter, Loihi2SimCfg(select_tag="fixed_pt"), self._num_lava_steps, lambda: on_step(int(self.clock[0])))

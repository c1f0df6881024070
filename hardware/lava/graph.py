"""An integer network as a graph of Lava Processes, run once over a whole data set.

::

    SpikeSource ──> Dense ──> Neurons ──> Dense ──> Neurons ──> Readout
                      └ one step ┘          └ one step ┘  └> Recorder, one a layer, to see everything

Samples follow one another without a pause. What the first layer sees at time step t (from 1 on) left the source at t - 1, since
every Dense sends what it summed a step before; layer k is k steps further behind, and clears its neurons as the first step of a
sample reaches it. Lossless int8: a Dense of mixed signs keeps even weights only, so it holds ``2 w`` and shifts its sums right by one.

Recurrent weights are a Dense from neurons to themselves, delays a DelayDense in place of the Dense. What is still on its way in them
where a sample ends is cleared, as the neurons are: without that it would arrive in the next one.

A convolution takes the place of a Dense, with the same delay. Lava's lays channels innermost and mirrors its kernels; the ports around
it transpose, so neurons keep their numbers. Its model in Lava keeps all bits of all weights, and knows no exponent.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIFReset
from lava.utils.weightutils import SignMode

from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.lava.execution import run, shared
from polystep_snn.hardware.lava.processes.neurons import Neurons
from polystep_snn.hardware.lava.processes.sinks import Readout, Recorder
from polystep_snn.hardware.lava.processes.source import SpikeSource
from polystep_snn.hardware.lava.processes.synapses import AxonalDelayDense, RecurrentDense


class Graph:
    """The Processes of one run, connected.

    Attributes:
        arrays: what the run fills: ``values`` [B, C] int32, as ``Simulator.run`` gives them, or for a recording ``z0``, ``u0``, ``v0``,
            ``z1``, … [B * T, N].
    """

    def __init__(self, network: IntegerNetwork, rows: np.ndarray, record: bool, on_chip: bool = False):
        """
        Args:
            network: within the limits of 32-bit currents (``Simulator`` checks them).
            rows: ``[B * T, ceil(M / 8)]`` uint8 spikes, sample after sample, packed.
            record: every spike, current and membrane instead of the readout's values.
            on_chip: for Intel's Loihi 2 compiler: stock neurons, and adapters between Python and the chip. Has never been run.
        """
        num_samples, self._on_chip = len(rows) // network.num_steps, on_chip
        self.clock = shared((1,), np.int64)
        self.arrays: dict[str, np.ndarray] = {}
        # On the chip: a step into it and one out of it, as assumed.
        self._source = SpikeSource(rows=rows, num_channels=network.sizes[0], name="source")
        port = _through("PyToNxAdapter", self._source.s_out, network.sizes[0]) if on_chip else self._source.s_out
        first_step = 3 if on_chip else 2
        for k, layer in enumerate(network.layers):
            neurons = _neurons(layer, network.num_steps, first_step + k, stock=on_chip, name=f"layer {k}")
            times: dict[str, Any] = {"num_steps": network.num_steps, "first_step": first_step + k}
            synapses(layer, port, times, stock=on_chip, name=f"weights {k}").connect(neurons.a_in)
            port = neurons.s_out
            if layer.recurrent is not None:
                own = RecurrentDense(**lossless(layer, layer.recurrent), **times, name=f"recurrent weights {k}")
                port.connect(own.s_in)
                own.a_out.connect(neurons.a_in)
            if record:
                self._record(k, neurons, len(rows), first_step + k)
        last_step = first_step + k
        if not record:
            value = neurons.v_out if network.reads_membranes else neurons.s_out
            if on_chip:
                value, last_step = _through("NxToPyAdapter", value, len(network.classes)), last_step + 1
            values = self.arrays["values"] = shared((num_samples, len(network.classes)), np.int32)
            readout = Readout(
                values=values, num_steps=network.num_steps, delay=last_step, kind=network.readout, clock=self.clock, name="readout"
            )
            value.connect(readout.a_in)
        self.num_steps = len(rows) + last_step - 1

    def _record(self, k: int, neurons: AbstractProcess, num_rows: int, delay: int) -> None:
        dtypes = {"z": np.bool_, "u": np.int32, "v": np.int32}
        arrays = {name: shared((num_rows, *neurons.s_out.shape), dtype) for name, dtype in dtypes.items()}
        self.arrays |= {f"{name}{k}": array for name, array in arrays.items()}
        recorder = Recorder(**arrays, delay=delay, clock=self.clock, name=f"recorder {k}")
        neurons.s_out.connect(recorder.z_in)
        neurons.u_out.connect(recorder.u_in)
        neurons.v_out.connect(recorder.v_in)

    def run(self, on_step: Callable[[int], None]) -> None:
        """Compile, run all steps, and take everything down.

        Args:
            on_step: called every few milliseconds with the time step.

        Raises:
            BackendError: a model raised, or its process ended. Nothing more can be run in this process then.
        """
        configuration = Loihi2HwCfg if self._on_chip else Loihi2SimCfg
        run(self._source, configuration(select_tag="fixed_pt"), self.num_steps, lambda: on_step(int(self.clock[0])))


def lossless(layer: IntegerLayer, weight: np.ndarray) -> dict[str, Any]:
    """A Dense's options for some weights of a layer; see the top of this file."""
    return {"weights": 2 * weight.astype(np.int32), "weight_exp": layer.weight_exp - 1, "sign_mode": SignMode.MIXED}


def synapses(layer: IntegerLayer, port: Any, times: dict[str, Any], stock: bool, name: str) -> Any:
    """The out port of a layer's weights, connected to what sends spikes. ``times`` are a sample's length and the layer's first step."""
    if layer.convolution is None:
        dense_options = lossless(layer, layer.weight) | {"name": name}
        if layer.delays is None or not layer.max_delay:
            dense = Dense(**dense_options)
        else:
            dense = AxonalDelayDense(**dense_options, delays=layer.delays, **times)
        port.connect(dense.s_in)
        return dense.a_out
    from lava.proc.conv.process import Conv

    from polystep_snn.hardware.lava.convolution.process import Convolution

    channels, height, width = layer.convolution.input_shape
    options: dict[str, Any] = {
        # Rows are x here, columns are y.
        "weight": np.ascontiguousarray(layer.weight[:, :, ::-1, ::-1].transpose(0, 2, 3, 1), np.int32) << layer.weight_exp,
        "input_shape": (height, width, channels),
        "stride": layer.convolution.stride,
        "padding": layer.convolution.padding,
        "name": name,
    }
    # As assumed: of mixed signs the chip keeps even weights only, as a Dense does.
    convolution = Conv(**(options | {"weight": 2 * options["weight"], "weight_exp": -1})) if stock else Convolution(**options)
    port.reshape((channels, height, width)).transpose((1, 2, 0)).connect(convolution.s_in)
    return convolution.a_out.transpose((2, 0, 1)).reshape((layer.num_neurons,))


def _neurons(layer: IntegerLayer, num_steps: int, first_step: int, stock: bool, name: str) -> AbstractProcess:
    options: dict[str, Any] = {
        "shape": (layer.num_neurons,),
        "vth": layer.vth,
        # Arrays: a plain integer cannot be read or written while the graph runs.
        "du": np.array([layer.du]),
        "dv": np.array([layer.dv]),
        "bias_mant": layer.bias_mant,
        "bias_exp": layer.bias_exp,
        "reset_interval": num_steps,
        "reset_offset": first_step % num_steps,
        "name": name,
    }
    if stock:
        return LIFReset(**(options | {"vth": layer.vth[:1]}))
    return Neurons(**options)


def _through(adapter: str, port: Any, size: int) -> Any:
    """The out port behind one of the adapters that come with Intel's extension."""
    from lava.proc import embedded_io

    process = getattr(embedded_io.spike, adapter)(shape=(size,))
    port.connect(process.inp)
    return process.out

"""A network that learns as a graph of Lava Processes, compiled once and run once over a whole lesson.

::

    SampledSource ──> Dense ──> SampledNeurons ──> Dense ──> SampledNeurons (integrators)
          │ counts      ^          ^  │ counts       ^           ^  │ membranes
          └─────────────│──────────│──┴──────────────│───────────│──┴──> LearnerProcess
                        └──────────┴── weights and biases ───────┴────────────┘

The last hidden layer stands beside its copies; what comes before it, if anything, are layers of the same kind without copies. One Dense
serves a layer and its copies, so that one write does. Where P is a sample's period and s its number from 0, in time steps of Lava:

==================================================  =======================
what                                                steps
==================================================  =======================
the source sends it                                 s P + 1 .. s P + T
layer k receives it                                 s P + 2 + k .. + T
its counts reach the learner, from layer k          s P + 1 + k + T
weights and biases are written, at the end of       the same
they act on layer k's Dense, on layer k from        the next one
the next sample's first spikes: Dense k, layer k    s P + P + 1 + k, + 2 + k
the readout's last membrane; its bias is written    s P + 2 + k + T
==================================================  =======================

So a step's pause, P = T + 1, is all that weights of layer k need, and biases or the readout's weights need none: P = T.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.utils.weightutils import SignMode

from polystep_snn.hardware.integer_network import IntegerLayer
from polystep_snn.hardware.lava.execution import run, shared
from polystep_snn.hardware.lava.lesson_state import LessonState
from polystep_snn.hardware.lava.processes.learner import LearnerProcess
from polystep_snn.hardware.lava.processes.sampled import SampledNeurons, SampledSource
from polystep_snn.hardware.lesson import Lesson


class LearningGraph:
    """The Processes of one lesson, connected.

    Attributes:
        arrays: what the run fills, see ``LessonState``.
        period: time steps of a sample.
    """

    def __init__(self, lesson: Lesson, rows: np.ndarray, every: int):
        """
        Args:
            lesson: a new one. It stays as it is: Lava's processes are forked from this one.
            rows: ``[samples * T, ceil(M / 8)]`` uint8 spikes of the samples that the plan numbers, packed.
            every: updates between two networks that ``run`` tells of.
        """
        learner, network = lesson.learner, lesson.learner.network
        self._num_steps, self._state = network.num_steps, LessonState(lesson, every)
        self.arrays, self.clock = self._state.arrays, shared((1,), np.int64)
        self.period = self._num_steps + ("hidden" in learner.names)
        self._source = SampledSource(
            rows=rows,
            order=lesson.plan.samples,
            num_channels=network.sizes[0],
            num_steps=self._num_steps,
            period=self.period,
            name="source",
        )
        last = len(network.layers) - 2
        self._learner = LearnerProcess(
            lesson=lesson,
            state=self._state,
            num_copies=learner.num_copies,
            first_step=1 + last + self._num_steps,
            period=self.period,
            clock=self.clock,
            name="learner",
        )
        spikes, counts = self._source.s_out, self._source.counts_out
        for k, layer in enumerate(network.layers[:-2]):
            _, neurons = self._add(k, layer, layer.weight, layer.bias_mant[None], spikes)
            spikes, counts = neurons.own_out, neurons.counts_out
        counts.connect(self._learner.inputs_in)
        parameters = learner.parameters
        weights, neurons = self._add(last, network.layers[-2], parameters["hidden"], learner.copied_biases, spikes)
        neurons.counts_out.connect(self._learner.counts_in)
        targets = {"hidden": weights.weights, "hidden_bias": neurons.bias_mant}
        weights, neurons = self._add(last + 1, network.layers[-1], parameters["readout"], parameters["readout_bias"][None], neurons.own_out)
        neurons.values_out.connect(self._learner.values_in)
        targets |= {"readout": weights.weights, "readout_bias": neurons.bias_mant}
        for name in learner.names:
            getattr(self._learner, name).connect_var(targets[name])
        self._num_lava_steps = (len(lesson.plan.samples) - 1) * self.period + 2 + last + self._num_steps

    def _add(self, k: int, layer: IntegerLayer, weight: np.ndarray, bias_mant: np.ndarray, spikes: Any) -> tuple[Dense, SampledNeurons]:
        """Layer k behind a port, with its copies as ``bias_mant`` [K, N] has them."""
        dense = Dense(weights=2 * weight.astype(np.int32), weight_exp=-1, sign_mode=SignMode.MIXED, name=f"weights {k}")
        neurons = SampledNeurons(
            vth=layer.vth,
            # Arrays: a plain integer cannot be read or written while the graph runs.
            du=np.array([layer.du]),
            dv=np.array([layer.dv]),
            bias_mant=bias_mant,
            bias_exp=layer.bias_exp,
            num_steps=self._num_steps,
            period=self.period,
            first_step=2 + k,
            name=f"layer {k}",
        )
        spikes.connect(dense.s_in)
        dense.a_out.connect(neurons.a_in)
        return dense, neurons

    def run(self, on_step: Callable[[int], None], on_parameters: Callable[[dict[str, np.ndarray]], None]) -> None:
        """Carry out the lesson.

        Args:
            on_step: called every few milliseconds with the time step.
            on_parameters: called with what is written every so many updates; the last ones may be skipped where they follow too fast.

        Raises:
            BackendError: a model raised, or its process ended. Nothing more can be run in this process then.
        """

        def look() -> None:
            on_step(int(self.clock[0]))
            if (parameters := self._state.take()) is not None:
                on_parameters(parameters)

        run(self._source, Loihi2SimCfg(select_tag="fixed_pt"), self._num_lava_steps, look)

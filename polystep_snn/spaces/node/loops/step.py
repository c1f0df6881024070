"""A step of PolyStep on the CPU: a pass over time, costs and gradients, by compiled loops over arrays that are kept from step to step."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polystep_snn.engine.loops import padded
from polystep_snn.engine.workspace import Workspace
from polystep_snn.polystep.cost import Cost, CrossEntropy, RateTarget
from polystep_snn.polystep.method import StepResult
from polystep_snn.polystep.transport import Transport
from polystep_snn.snn.frames import EventFrames, Frames, check_block, num_blocks
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.wiring import past_steps
from polystep_snn.spaces.node.chained import fit
from polystep_snn.spaces.node.currents import currents
from polystep_snn.spaces.node.last_hop import End, LinearEnd, NeuronEnd
from polystep_snn.spaces.node.loops.arrays import Constants, Probing, constants, probing
from polystep_snn.spaces.node.loops.conclusion import Conclusion, is_usual
from polystep_snn.spaces.node.loops.following import following
from polystep_snn.spaces.node.loops.gradients import displacements, of_weights
from polystep_snn.spaces.node.loops.handed_on import hand_on, lateness_gradients, price_rates
from polystep_snn.spaces.node.loops.inputs import FirstLayer, frames_of
from polystep_snn.spaces.node.loops.layer import LayerShares, LoopLayer, shares_of
from polystep_snn.spaces.node.loops.memory import LoopMemory, windowed
from polystep_snn.spaces.node.loops.over_time import DecidingReadout
from polystep_snn.spaces.node.loops.readout import Readout
from polystep_snn.spaces.node.loops.result import result
from polystep_snn.spaces.node.loops.shape import Shape
from polystep_snn.spaces.node.over_time import OverTimeEnd
from polystep_snn.spaces.node.pass_state import LayerProbes
from polystep_snn.spaces.node.pulled_back import placed


class LoopStep:
    """Steps of one network on batches of one shape.

    Args:
        shape: of the batches and probes.
        layers: what the network computes with; those of later steps may differ in their numbers.
        end: of the network.
        chained: hand credit on from layer to layer, see ``chained.py``.
        recurrent_credit: and through recurrent weights, see ``memory.py``.
        chunk: rows that are followed at a time; None to choose.
    """

    def __init__(self, shape: Shape, layers: Sequence[Layer], end: End, chained: bool, recurrent_credit: bool, chunk: int | None):
        weight = layers[0].weight
        self.shape, self._chunk = shape, chunk
        self._kind: Any = {torch.float32: np.float32, torch.float64: np.float64}[weight.dtype]
        self._live = np.zeros(padded(shape.batch_size), self._kind)
        self._live[: shape.batch_size] = 1
        self._num_layers = len(layers) - (not isinstance(end, NeuronEnd))
        self._over_time = isinstance(end, OverTimeEnd)
        last = self._num_layers - 1
        self._chained = chained
        self._decays = [1.0] * last + [end.decay]
        self._recurrent_credit = recurrent_credit
        self._recurrent = [layer.recurrent is not None for layer in layers[: self._num_layers]]
        # A constant current needs no blocks where nobody wants its spikes one by one.
        self._num_blocks = 1 if shape.constant and not last and not self._recurrent[0] else num_blocks(shape.num_steps)
        longest = self._longest = -(-shape.num_steps // self._num_blocks)
        num_past = past_steps([layer.wiring for layer in layers])
        traced = isinstance(end, LinearEnd) and (layers[-1].delays is not None or end.alpha > 0)
        self._workspace = Workspace()
        self._layers = [
            LoopLayer(
                layer.wiring,
                of,
                shape.probes[k][0],
                shape.probes[k][2],
                shape.batch_size,
                self._decays[k],
                longest if k < last or num_past[k] or self._over_time else 0,
                k < last and not self._chained,
                shape.probes[k + 1][1] if (k < last and self._chained) or self._over_time else 0,
                shape.probes[k][1] if self._recurrent[k] and recurrent_credit else 0,
                num_past[k],
                traced and k == last,
                weight.dtype,
            )
            for k, (layer, of) in enumerate(zip(layers, self._constants(layers), strict=False))
        ]
        self._memory = [
            LoopMemory(x, n, of.has_synapse) if n else None
            for x, n, of in zip(self._layers, num_past, self._constants(layers), strict=False)
        ]
        make_readout = DecidingReadout if self._over_time else Readout
        self._readout = make_readout(self._layers[last], layers[-1].wiring.num_neurons, self._live)
        self._conclusion = Conclusion(self._readout, self._layers[last], shape.probes[-1][0], shape.probes[last][1])
        self._probes: Sequence[LayerProbes] | None = None
        self._probing: list[Probing] = []
        self._fits: list[Tensor] = []
        self._shares: list[LayerShares] = []

    def _constants(self, layers: Sequence[Layer]) -> list[Constants]:
        spiking = layers[: self._num_layers]
        return [constants(x.neuron, x.wiring.num_neurons, self._kind) for x in spiking if x.neuron is not None]

    def _take(self, probes: Sequence[LayerProbes], layers: Sequence[Layer], end: End) -> None:
        """Know the probes of this step, and of later ones where they are the same object and delays stay."""
        rules = self._num_layers, end, self.shape.num_steps, self._chained, self._recurrent_credit
        if probes is self._probes and not any(x.wiring.learned_delays for x in layers):
            return
        before, self._probes = self._probes, probes
        known, self._probing = self._probing, []
        for k, (layer, p) in enumerate(zip(layers, probes, strict=True)):
            if before is not None and before[k].offsets is p.offsets and before[k].windows is p.windows:
                self._probing.append(known[k].of(p.neurons))
                continue
            share = bias_share = p.windows.numpy().sum(0) / self.shape.num_steps
            if isinstance(end, LinearEnd) and k == self._num_layers:
                share, bias_share = np.full(1, 1 / end.gain), np.ones(1)
            elif k or not self.shape.constant:
                share = np.full_like(share, 1 / self.shape.num_steps)
            self._probing.append(probing(p, layer.wiring.num_neurons, self.shape.batch_size, share, bias_share))
        self._fits = [fit(p.offsets) for p in probes[: self._num_layers]] if self._chained else []
        self._shares = [shares_of(k, probes, layers, *rules) for k in range(self._num_layers)]

    def __call__(
        self,
        layers: Sequence[Layer],
        end: End,
        probes: Sequence[LayerProbes],
        inputs: Frames | Tensor,
        target: Tensor,
        cost: Cost,
        transport: Transport,
        eps: float,
        rate_target: RateTarget | None,
    ) -> tuple[StepResult, list[Tensor], float]:
        """What a step returns, the gradients of weights and biases, and a sum that is finite where everything was.

        Args:
            layers, end, probes: of this step, of the shape that is known.
            inputs, target: a batch.
            cost, transport, eps, rate_target: as of ``NodeStep``.
        """
        self._take(probes, layers, end)
        first = FirstLayer(layers[0], self._probing[0], self.shape.constant, self.shape.batch_size, self._longest, self._workspace)
        conclusion = self._conclusion if is_usual(end, cost, transport, rate_target) and not self._recurrent[-1] else None
        activity, total = self._pass(layers, end, inputs, target, cost, first, conclusion, eps)
        readout = self._readout
        if self._chained:
            hand_on(layers, self._layers, probes, self._fits, readout, rate_target, self.shape)
        elif rate_target is not None:
            price_rates(rate_target, self._layers[: len(layers) - 1], probes, self.shape)
        grads = self._gradients(layers, activity, first, inputs, transport, conclusion, eps)
        return result(self._layers, readout, self.shape), grads, total + readout.loss

    def _pass(
        self,
        layers: Sequence[Layer],
        end: End,
        inputs: Frames | Tensor,
        target: Tensor,
        cost: Cost,
        first: FirstLayer,
        conclusion: Conclusion | None,
        eps: float,
    ) -> tuple[list[Tensor | None], float]:
        """Through all steps, and the costs of all probes that need no other's."""
        of, last = self._constants(layers), self._num_layers - 1
        activity: list[Tensor | None] = [None] * (self._num_layers + self._over_time)
        assert self._probes is not None
        given = layers, self._layers, of, self._probes, self._probing, self._decays, self.shape.batch_size, self._num_blocks, self._chunk
        followers, hop = ([], None) if self._chained else following(*given)
        for memory in filter(None, self._memory):
            memory.begin()
        if followers:
            # They look at the layers before the first step too.
            for layer in self._layers:
                layer.to_rest()
        current: Tensor | None = None
        total = 0.0
        if isinstance(self._readout, DecidingReadout) and isinstance(end, OverTimeEnd):
            self._readout.begin(end, self._probes[-1].windows, target, cost)
        if isinstance(inputs, EventFrames) and self.shape.sparse:
            check_block(inputs, len(target), layers[0].wiring.num_inputs, layers[0].weight.dtype)
            # A weight at a pixel that is off throughout the batch is in no current.
            total = float(layers[0].weight.sum())
        frames = frames_of(inputs, layers[0], self.shape.batch_size)
        for start, behind in pairwise(self.shape.num_steps * k // self._num_blocks for k in range(self._num_blocks + 1)):
            num_steps = behind - start
            before = [x.before() for x in followers]
            if isinstance(inputs, EventFrames) and self.shape.sparse:
                current = first.of_events(inputs.block(start, behind))
            elif current is None or not self.shape.constant:
                current = first.of_frames(islice(frames, 1 if self.shape.constant else num_steps), num_steps, start)
            driven, seen = self._through(layers, of, current, start, num_steps, activity)
            total += seen
            if start + num_steps < self.shape.num_steps:
                for k, (x, begun) in enumerate(zip(followers, before, strict=True)):
                    x.through_block(begun, driven[k + 1 :], num_steps)
                if hop is not None:
                    hop.through_block(driven[-1], start, num_steps)
        # An input that goes on is found out.
        next(frames, None)
        for k in range(1, len(activity)):
            if self._probing[k].whole and layers[k].delays is None:
                activity[k] = self._layers[k - 1].counts.T[None]
        readout, known = self._readout, self._probing[last]
        if conclusion is not None:
            assert isinstance(end, LinearEnd)
            assert isinstance(cost, CrossEntropy)
            assert self._probes is not None
            conclusion.read(end, layers[-1].weight, target, cost, eps, self._probing[-1], self._probes[-1].offsets, known)
        else:
            readout.read(end, layers[-1].weight, target, cost)
        for k, (x, begun) in enumerate(zip(followers, before, strict=True)):
            x.costs(begun, driven[k + 1 :], num_steps, readout)
        if hop is not None:
            hop.costs(driven[-1], start, num_steps, readout)
        if conclusion is not None:
            conclusion.of_last_layer(known, isinstance(end, LinearEnd) and end.counts_spikes)
        elif not self._over_time:
            readout.of_last_layer(known)
        return activity, total

    def _through(
        self, layers: Sequence[Layer], of: list[Constants], current: Tensor, start: int, num_steps: int, activity: list[Tensor | None]
    ) -> tuple[list[Tensor], float]:
        """All layers through a block: what drives each of them, ``[U, N, B]``; and the sum of that."""
        driven, total = [], 0.0
        for k, layer in enumerate(self._layers):
            memory, recurrent = self._memory[k], layers[k].recurrent
            if memory is not None and recurrent is not None:
                current = memory.driven(of[k], current, recurrent, start == 0, num_steps)
                memory.gather(self._probing[k], start, num_steps)
            driven.append(current)
            total += layer.through(of[k], self._probing[k], current, start, num_steps, self._shares[k])
            if k + 1 == self._num_layers and not self._over_time:
                if memory is not None:
                    memory.end_block(start, num_steps, self._shares[k].moving)
                break
            assert layer.spikes is not None
            spikes, behind, delays = layer.spikes[:num_steps], self._probing[k + 1], layers[k + 1].delays
            if memory is not None:
                spikes = spikes if delays is None else memory.arriving(delays, num_steps)
                memory.end_block(start, num_steps, self._shares[k].moving)
            if not behind.whole or delays is not None:
                found = windowed(behind, spikes, start)
                so_far = activity[k + 1]
                activity[k + 1] = found if so_far is None else so_far + found
            if isinstance(self._readout, DecidingReadout) and k + 1 == self._num_layers:
                total += self._readout.through(layers[-1], spikes, start)
                break
            current = currents(layers[k + 1].wiring, layers[k + 1].weight, layers[k + 1].bias, spikes)
        return driven, total

    def _gradients(
        self,
        layers: Sequence[Layer],
        activity: list[Tensor | None],
        first: FirstLayer,
        inputs: Frames | Tensor,
        transport: Transport,
        conclusion: Conclusion | None,
        eps: float,
    ) -> list[Tensor]:
        assert self._probes is not None
        costs = [layer.costs for layer in self._layers]
        if self._num_layers < len(layers) and conclusion is None:
            costs.append(self._readout.of_own_probes(self._probes[-1].offsets))
        grads, own = list[Tensor](), list[Tensor]()
        for k, (cost, layer, p, known) in enumerate(zip(costs, layers, self._probes, self._probing, strict=False)):
            if conclusion is not None and k == self._num_layers - 1:
                moved, bias = conclusion.moved, conclusion.bias
            else:
                out = self._workspace.take(f"displacements {k}", known.points.shape[1], *cost.shape[1:], dtype=cost.dtype)
                moved, bias = displacements(transport, cost, eps, known, self.shape.batch_size, self._live, out)
            if k < self._num_layers and self._recurrent[k]:
                found = cast(LoopMemory, self._memory[k]).gradients(known, moved, self.shape.num_steps)
                own.append(placed(found, p.neurons, layer.wiring.num_neurons))
            if k == 0:
                grads += first.gradients(inputs, moved, bias, p.neurons)
                continue
            arrived = activity[k] if k < len(activity) else self._layers[-1].base.trace.T[None]
            assert arrived is not None
            grads += of_weights(layer.wiring, moved, bias, arrived, p.neurons)
        own += lateness_gradients(layers, self._layers, self._probes, self._fits, self._memory, self._readout)
        return grads + own if conclusion is None else grads + conclusion.grads + own

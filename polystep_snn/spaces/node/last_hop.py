"""The last hop of a probe: from what it changed in the last spiking layer to the cost of every sample.

Three ends. ``LinearEnd`` is a readout that integrates, which is linear: it is not simulated, a probe of the layer before needs one
column of weights, and the readout's own probes are closed forms. ``NeuronEnd`` reads neurons that were simulated: spike counts, or
the membranes of the chip's leaky integrators, which round in every step. ``OverTimeEnd`` (``over_time.py``) has membranes of several
steps, and no costs of its own: credit is handed on from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.polystep.cost import Cost, CrossEntropy, MeanSquaredError
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout
from polystep_snn.snn.wiring import Wiring
from polystep_snn.spaces.node.currents import multiply
from polystep_snn.spaces.node.over_time import OverTimeEnd
from polystep_snn.spaces.node.populations import Population


class LayerCosts(NamedTuple):
    """What the probes of one layer found.

    Attributes:
        cost: ``[V, K, B]``.
        activity: ``[M, B, N]``, presynaptic spikes (or currents) in each time window; ``[1, B, N]`` where all windows see the same;
            None for events (``EventFrames.windowed``).
        share: ``[M]``, what turns it into what one unit of weight adds to the mean input current over the whole sequence; in front
            of a membrane readout, to the mean as that membrane weighs it.
        bias_share: ``[M]``, what one unit of bias adds.
        own_activity: ``[M, B, N]``, the layer's own spikes as they arrived by its recurrent weights; None where there are none.
        delay_difference: ``[N, B]``, how much more samples cost if a neuron's spikes left with the next longer delay, not with the next
            shorter one; None where delays are not learnt.
    """

    cost: Tensor
    activity: Tensor | None
    share: Tensor
    bias_share: Tensor
    own_activity: Tensor | None = None
    delay_difference: Tensor | None = None


def chosen(x: Tensor, index: Tensor | None, dim: int) -> Tensor:
    """The entries ``index`` of ``x`` along ``dim``; all of them for None."""
    return x if index is None else x.index_select(dim, index)


def cost_of_change(cost: Cost, value: Tensor, columns: Tensor, change: Tensor, target: Tensor) -> Tensor:
    """Cost ``[V, K, B]`` when probe k moves the value ``[C, B]`` by its column ``[K, C]`` times ``change: [V, K, B]``."""
    if isinstance(cost, CrossEntropy | MeanSquaredError):
        return cost.of_change(value, columns, change, target)
    return cost(value + columns[:, :, None] * change[:, :, None, :], target)


class LinearEnd(NamedTuple):
    """A readout that integrates and never fires.

    Attributes:
        wiring: of the readout's weights.
        gain: what a current of 1 in every step leaves on the membrane.
        decay: of the membrane, so of the traces in the last layer that fires.
        alpha: what its synapse keeps of a current; 0 without one.
        bias: ``[C]``, the current of the readout's bias.
        unit: scalar tensor, what a membrane of 1 is worth to the cost.
        neurons: of the readout that are simulated: none.
    """

    wiring: Wiring
    gain: float
    decay: float
    bias: Tensor
    unit: Tensor
    alpha: float = 0.0
    neurons: tuple[()] = ()

    @property
    def counts_spikes(self) -> bool:
        """Whether traces are numbers of spikes."""
        return self.decay == 1.0 and not self.alpha

    def trace_shares(self, num_steps: int, delays: Tensor | None) -> Tensor | None:
        """What a spike of each of N neurons in each of T steps adds to its trace, ``[T, N]``; None where ``decay`` says all."""
        if delays is None and not self.alpha:
            return None
        counts = torch.tensor(MembraneReadout(self.decay, self.alpha).counts(num_steps), dtype=self.unit.dtype, device=self.unit.device)
        ahead = num_steps - 1 - torch.arange(num_steps, device=self.unit.device)[:, None].expand(-1, self.wiring.num_inputs)
        if delays is not None:
            ahead = ahead - delays
        return torch.where(ahead >= 0, counts[ahead.clamp(min=0)], 0.0)

    def value(self, weights: Sequence[Tensor], last: Population) -> Tensor:
        """The readout ``[C, B]`` of the unprobed network, as the cost sees it."""
        return (multiply(self.wiring, weights[-1], last.trace) + self.bias[:, None] * self.gain) * self.unit

    def cost(
        self,
        weights: Sequence[Tensor],
        probed: Population,
        neurons: Tensor | None,
        last: Population,
        value: Tensor,
        target: Tensor,
        cost: Cost,
    ) -> Tensor:
        """Costs ``[V, K, B]`` of probes in the last spiking layer."""
        change = probed.trace - chosen(last.trace, neurons, 0)
        return cost_of_change(cost, value, self.wiring.fan(weights[-1], neurons).values * self.unit, change, target)

    def delay_difference(self, weight: Tensor, moved: Tensor, value: Tensor, target: Tensor, cost: Cost) -> Tensor:
        """How much more samples cost, ``[N, B]``, if traces were larger by half of ``moved: [N, B]`` than if they were smaller by it."""
        columns = self.wiring.fan(weight, None).values * self.unit
        longer, shorter = cost_of_change(cost, value, columns, torch.stack([moved, -moved]) / 2, target)
        return longer - shorter

    def readout_cost(self, offsets: Tensor, value: Tensor, target: Tensor, cost: Cost) -> Tensor:
        """Costs ``[V, C, B]`` of the readout's own probes. Linear, so one window serves; offsets: ``[V, 1]``."""
        change = (offsets * self.gain)[:, :, None].expand(-1, len(value), len(target))
        return cost_of_change(cost, value, torch.eye(len(value), dtype=value.dtype, device=value.device), change, target)


class NeuronEnd(NamedTuple):
    """A readout whose neurons are simulated: the last spiking layer is the output.

    Attributes:
        neurons: the output's constants, as a tuple of one.
        membrane: what a final membrane of 1 is worth to the cost, a scalar tensor: scheduled values must not compile anew.
        counts: whether spikes count too.
        decay: of the traces: 1, they count.
    """

    neurons: tuple[LIFParameters | CubaNeuron, ...]
    membrane: Tensor
    counts: bool = True
    decay: float = 1.0

    def value(self, weights: Sequence[Tensor], last: Population) -> Tensor:
        """The readout ``[C, B]`` of the unprobed network, as the cost sees it."""
        return self.read(last)

    def read(self, output: Population) -> Tensor:
        """What the cost sees of output neurons, in their shape."""
        seen = self.membrane * output.state.v
        return output.trace + seen if self.counts else seen

    def cost(
        self,
        weights: Sequence[Tensor],
        probed: Population,
        neurons: Tensor | None,
        last: Population,
        value: Tensor,
        target: Tensor,
        cost: Cost,
    ) -> Tensor:
        """Costs ``[V, K, B]`` of probes in the output itself."""
        change = self.read(probed) - chosen(value, neurons, 0)
        columns = chosen(torch.eye(len(value), dtype=value.dtype, device=value.device), neurons, 0)
        return cost_of_change(cost, value, columns, change, target)


End = LinearEnd | NeuronEnd | OverTimeEnd


def make_end(readout: Readout, layer: Layer, num_steps: int, residual: float | None, every_step: bool = False) -> End:
    """The end that fits a readout and its layer; ``residual`` replaces a spike-count readout's own; ``every_step`` as of ``NodeStep``."""
    one = layer.weight.new_ones(())
    unit = one if layer.unit is None else layer.unit
    neuron = layer.neuron
    if isinstance(readout, SpikeCountReadout):
        assert neuron is not None
        share = readout.membrane_share(
            neuron if isinstance(neuron, CubaNeuron) else None, readout.residual if residual is None else residual
        )
        return NeuronEnd((neuron.batch_last(),), share * one)
    readout.check_trainable()
    if every_step or readout.maximum:
        return OverTimeEnd(readout, layer.wiring, neuron.batch_last() if isinstance(neuron, CubaNeuron) else None, unit, every_step)
    if isinstance(neuron, CubaNeuron) and not neuron.adds_up:
        return NeuronEnd((neuron.batch_last(),), unit, counts=False)
    bias = neuron.bias if isinstance(neuron, CubaNeuron) else layer.bias
    return LinearEnd(layer.wiring, sum(readout.counts(num_steps)), readout.decay, bias, unit, readout.alpha)

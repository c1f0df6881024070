"""The last hop of a probe: from what it changed in the last spiking layer to the cost of every sample.

Two ends, one for each kind of readout. ``MembraneEnd`` is linear, so the readout is not simulated: a probe of the layer before
needs one column of weights, and the readout's own probes are closed forms. ``CountEnd`` reads neurons that were simulated. The
readout's own probes are few and run eagerly: compiling them would take longer than they ever save.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from polystep_snn.polystep.compiled import Kernels
from polystep_snn.polystep.cost import Cost
from polystep_snn.polystep.populations import Population
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, ReadoutState, SpikeCountReadout

# Numbers (of four bytes) in 64 bytes.
_CACHE_LINE = 16


class LayerCosts(NamedTuple):
    """What the probes of one layer found.

    Attributes:
        cost: ``[V, K, B]``.
        activity: ``[M, B, N]``, presynaptic spikes (or currents) in each time window, per step of the whole sequence: what one
            unit of weight adds to the mean input current. In front of a membrane readout, the mean as that membrane weighs it.
        bias_activity: ``[M]``, the same for one unit of bias.
    """

    cost: Tensor
    activity: Tensor
    bias_activity: Tensor


def rows(x: Tensor, index: Tensor | None, dim: int) -> Tensor:
    """The entries ``index`` of ``x`` along ``dim``; all of them for None."""
    return x if index is None else x.index_select(dim, index)


def through(weight: Tensor, x: Tensor) -> Tensor:
    """``weight [M, N]`` times ``x [..., K, N, B]``, one probed neuron k at a time.

    How a batched product rounds may depend on the size of its batch, and on where in memory a factor begins. With one call a
    neuron and batches padded to whole cache lines neither depends on how many neurons are simulated together or in which order.
    """
    batch_size = x.shape[-1]
    x = torch.nn.functional.pad(x, (0, -batch_size % _CACHE_LINE))
    products = [torch.matmul(weight, x.select(-3, k).contiguous()) for k in range(x.shape[-3])]
    return torch.stack(products, -3)[..., :batch_size].contiguous()


def cost_of(cost: Cost, value: Tensor, target: Tensor) -> Tensor:
    """Cost ``[..., B]`` of readout values ``[..., C, B]``."""
    return cost(value, target)


def cost_of_change(cost: Cost, value: Tensor, columns: Tensor, change: Tensor, target: Tensor) -> Tensor:
    """Cost ``[V, K, B]`` when probe k moves the value ``[C, B]`` by its column ``[K, C]`` times ``change: [V, K, B]``."""
    return cost(value + columns[:, :, None] * change[:, :, None, :], target)


class MembraneEnd:
    """A readout that integrates and never fires."""

    def __init__(self, network: SpikingNetwork, readout: MembraneReadout, num_steps: int, kernels: Kernels):
        self.kernels = kernels
        self.weight, self.bias = network.weights[-1], network.biases[-1]
        self.neurons = network.neurons
        self.decay = readout.decay
        # What a current of 1 in every step leaves on the membrane.
        self.gain = float(sum(self.decay**k for k in range(num_steps)))

    def value(self, last: Population) -> Tensor:
        return torch.addmm(self.bias[:, None] * self.gain, self.weight, last.trace)

    def cost(
        self, own: Population, hops: list[Population], neurons: Tensor | None, last: Population, value: Tensor, target: Tensor, cost: Cost
    ) -> Tensor:
        if not hops:
            change = own.trace - rows(last.trace, neurons, 0)
            columns = rows(self.weight, neurons, 1).T.contiguous()
            return self.kernels(cost_of_change)(cost, value, columns, change, target)
        correction = through(self.weight, hops[-1].trace - last.trace)
        return self.kernels(cost_of)(cost, value + correction, target)

    def readout_layer(self, offsets: Tensor, last: Population, value: Tensor, target: Tensor, cost: Cost) -> LayerCosts:
        """The readout's own probes. Linear, so one window serves: offsets are ``[V, 1]``."""
        change = (offsets * self.gain)[:, :, None].expand(-1, len(value), len(target))
        own = cost_of_change(cost, value, torch.eye(len(value)).to(value), change, target)
        return LayerCosts(own, (last.trace.T / self.gain)[None], value.new_ones(1))


class CountEnd:
    """A readout of neurons that fire: the last spiking layer is the output."""

    def __init__(self, network: SpikingNetwork, readout: SpikeCountReadout, residual: float | None, kernels: Kernels):
        self.kernels = kernels
        self.readout = readout if residual is None else replace(readout, residual=residual)
        self.neurons: list[LIFParameters] = [*network.neurons, readout.neuron]
        self.decay = 1.0

    def value(self, last: Population) -> Tensor:
        return self.readout.value(ReadoutState(last.trace, last.state))

    def cost(
        self, own: Population, hops: list[Population], neurons: Tensor | None, last: Population, value: Tensor, target: Tensor, cost: Cost
    ) -> Tensor:
        if hops:
            return self.kernels(cost_of)(cost, self.value(hops[-1]), target)
        change = self.value(own) - rows(value, neurons, 0)
        columns = rows(torch.eye(len(value)).to(value), neurons, 0)
        return cost_of_change(cost, value, columns, change, target)


def make_end(network: SpikingNetwork, num_steps: int, residual: float | None, kernels: Kernels) -> MembraneEnd | CountEnd:
    """The end that fits the network's readout."""
    if isinstance(network.readout, MembraneReadout):
        return MembraneEnd(network, network.readout, num_steps, kernels)
    return CountEnd(network, network.readout, residual, kernels)

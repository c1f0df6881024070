r"""Candidates of a ``SpikingNetwork``: one neuron through time, and a rank-one correction of the next layer.

A candidate whose part is made of rows changes the input current of one neuron j of layer l::

    I'_j[t] = I_j[t] + c (right . s_{l-1}[t])                    products of the batch, computed once for all candidates
    I'_{l+1}[t] = I_{l+1}[t] + W_{l+1}[:, j] (s'_j[t] - s_j[t])  no matrix product, and layers before l are not simulated at all

Behind an integrating readout even that is a sum: ``value' = value + W[:, j] e`` with the trace ``e`` of what changed. A product
``c u (v . s)`` shifts all neurons of its layer, along u. Currents and spikes of the unprobed network are kept for the batch, T numbers
a neuron and sample, and so is what candidates change in the neurons that are probed at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import Cost, CrossEntropy, rate_scale
from polystep_snn.snn.frames import Constant, Frames
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout
from polystep_snn.spaces.weight.any_module import WholeBatch, WholeModule
from polystep_snn.spaces.weight.candidates import log, moves, tiles
from polystep_snn.spaces.weight.directions import Part, Products, Rows, as_matrix
from polystep_snn.spaces.weight.spiking_simulation import Layers, readout_of, row_change, row_readout, spikes_of

# Candidates that are simulated at once: their membranes shall stay in the processor's cache.
_CACHE = 2**21


def as_tensor(inputs: Frames | Tensor) -> Tensor:
    """All timesteps, ``[T, B, ...]``."""
    return inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))


def check(inputs: Any, target: Any) -> int:
    """The number of timesteps of a batch, or InputError where it is none."""
    if not isinstance(inputs, Frames | Tensor) or not isinstance(target, Tensor):
        given = f"{type(inputs).__name__} and {type(target).__name__}"
        raise InputError(f"inputs and targets are {given}: give tensors, or an encoder's frames")
    if not len(inputs) or not len(target):
        raise InputError(f"there are {len(inputs)} timesteps and {len(target)} samples: give at least one of each")
    return len(inputs)


class Spiking:
    """Evaluates candidates of a ``SpikingNetwork`` in floating point: on an int8 grid a changed weight may move all others.

    Args:
        network: whose candidates.
        cost: of a readout; None for that of ``PolyStep``.
        memory: bytes that candidates may take at once.
        kernels: compiles the loops over time; None to run them eagerly.
    """

    def __init__(self, network: SpikingNetwork, cost: Cost | None, memory: int, kernels: Kernels | None = None):
        self.network = network
        self.cost = cost
        self.memory = memory
        self.run: Callable[[Callable], Callable] = kernels if kernels is not None else lambda fn: fn
        self._told = False

    def batch(self, inputs: Any, target: Any) -> "SpikingBatch":
        return SpikingBatch(self, inputs, target)

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        check(inputs, target)
        samples, sizes = len(target), self.network.sizes
        steps = (1 if isinstance(inputs, Constant) else len(inputs)) * sizes[0] + 2 * len(inputs) * sum(sizes[1:])
        per_sample = self.network.weights[0].element_size() * steps
        size = max(1, min(samples, self.memory // per_sample))
        if size == samples:
            yield 1.0, inputs, target
            return
        if not self._told:
            self._told = True
            log.info("currents and spikes of %d samples do not fit into memory: costs are added up over slices of %d", samples, size)
        frames = inputs if isinstance(inputs, Constant) else as_tensor(inputs)
        for start in range(0, samples, size):
            cut = slice(start, min(start + size, samples))
            part = Constant(frames.current[cut], len(frames)) if isinstance(frames, Constant) else frames[:, cut]
            yield (cut.stop - start) / samples, part, target[cut]


class AnySpiking:
    """Evaluates candidates of a ``SpikingNetwork`` one forward pass each: for weights on an int8 grid, convolutions, and subclasses.

    Args:
        network, cost, memory: as of ``Spiking``.
    """

    def __init__(self, network: SpikingNetwork, cost: Cost | None, memory: int):
        self.cost, self._readout = cost, network.readout
        self.num_steps = 1
        self.whole = WholeModule(network, self._loss, memory, dim=1)

    def _loss(self, output: Any, target: Tensor) -> Tensor:
        return (self.cost or CrossEntropy(rate_scale(self._readout.full_scale(self.num_steps))))(output[0].T, target)

    def batch(self, inputs: Any, target: Any) -> WholeBatch:
        return self.whole.batch(inputs, target)

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        self.num_steps = check(inputs, target)
        # Frames can be iterated over once, candidates are many.
        return self.whole.slices(as_tensor(inputs), target)


class SpikingBatch:
    """A spiking network on one batch; see ``candidates.Batch``."""

    def __init__(self, of: Spiking, inputs: Frames | Tensor, target: Tensor):
        network = self._network = of.network
        self._of, self._target, self._num_steps = of, target, len(inputs)
        self._cost = of.cost or CrossEntropy(rate_scale(len(inputs)))
        frames = (
            inputs.current[None] if isinstance(inputs, Constant) else inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))
        )
        if len(frames) != (1 if isinstance(inputs, Constant) else len(inputs)):
            raise InputError(f"the input has {len(frames)} timesteps, but announced {len(inputs)}")
        frames = frames.flatten(2)
        weight = network.weights[0]
        if frames.shape[1:] != (len(target), network.sizes[0]) or frames.dtype != weight.dtype:
            raise InputError(
                f"inputs are {frames.dtype} {list(frames.shape)}: give {weight.dtype} [T, {len(target)}, {network.sizes[0]}], as many "
                "samples as targets"
            )
        self._neurons = [p for p in network.neurons if isinstance(p, LIFParameters)]
        self._weights = [w.detach() for w in network.weights]
        self._biases = [b.detach() for b in network.biases]
        self._incoming = [frames.transpose(1, 2)]
        self._currents: list[Tensor] = []
        for layer, (w, b) in enumerate(zip(self._weights, self._biases, strict=True)):
            current = torch.matmul(w, self._incoming[-1]) + b[:, None]
            self._currents.append(current)
            if layer < len(self._neurons):
                self._incoming.append(of.run(spikes_of)(current, self._neurons[layer], self._num_steps))
        nothing = self._currents[-1].new_zeros(1, 1, 1)
        self._value = row_readout(self._currents[-1], nothing, network.readout, self._num_steps)
        self.output = self._value.T
        self.loss = self._cost(self._value, target).mean()
        self.rates = [z.mean((0, 2)) for z in self._incoming[1:]]

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        _, number, local = part.name.split(".")
        layer = int(number)
        incoming = self._incoming[layer]
        if local == "bias":
            incoming = incoming.new_ones(1, 1, 1).expand(1, 1, incoming.shape[-1])
        found = offsets.new_empty(offsets.shape[:2], dtype=self.loss.dtype)
        if isinstance(part, Rows):
            unit = incoming if part.right is None else torch.matmul(part.right.to(incoming.dtype), incoming)
            index = torch.arange(part.size, device=offsets.device).view(-1, offsets.shape[2])
            neurons, coordinates = index[:, 0] // part.row, index % part.row
            width = len(self._weights[min(layer + 1, len(self._weights) - 1)])
            for vertices, particles in tiles(offsets, self._at_once(offsets.shape, width)):
                found[vertices, particles] = self._rows(
                    layer, unit, offsets[vertices, particles].to(unit.dtype), neurons[particles], coordinates[particles]
                )
            return found
        for vertices, particles in tiles(offsets, self._at_once(offsets.shape, len(self._weights[layer]))):
            found[vertices, particles] = self._whole_layer(layer, part, incoming, offsets[vertices], particles)
        return found

    def _at_once(self, shape: torch.Size, width: int) -> int:
        """Candidates at once: their membranes in the cache, and a divisor of all where one is near, so that few shapes occur."""
        per_candidate = self.loss.element_size() * 5 * len(self._target) * width
        limit = max(1, min(self._of.memory, _CACHE) // per_candidate)
        particles = max(1, limit // shape[0])
        divisor = next(d for d in range(min(particles, shape[1]), 0, -1) if shape[1] % d == 0)
        return (divisor if 2 * divisor > particles else particles) * shape[0] if limit >= shape[0] else limit

    def _rows(self, layer: int, unit: Tensor, offsets: Tensor, neurons: Tensor, coordinates: Tensor) -> Tensor:
        """Costs ``[V, K]`` of candidates that shift the current of one neuron each."""
        network, run, num_steps = self._network, self._of.run, self._num_steps
        shift = torch.einsum("vkp,tkpb->tvkb", offsets, unit[:, coordinates])
        current = self._currents[layer][:, neurons]
        if layer == len(self._neurons):
            moved = run(row_readout)(current, shift, network.readout, num_steps)
            column = torch.nn.functional.one_hot(neurons, len(self._value)).to(shift.dtype)
            return self._costs(self._value + column[:, :, None] * (moved - self._value[neurons])[:, :, None, :])
        spikes = self._incoming[layer + 1][:, neurons]
        changed = run(row_change)(current, shift, spikes, self._neurons[layer], num_steps)
        columns = self._weights[layer + 1].T[neurons]
        if layer + 1 == len(self._neurons) and isinstance(network.readout, MembraneReadout) and not network.readout.maximum:
            trace = changed[0]
            for change in changed[1:]:
                trace = network.readout.decay * trace + change
            return self._costs(self._value + columns[:, :, None] * trace[:, :, None, :])
        return self._costs(run(readout_of)(self._layers(layer + 1), [columns[None]], [changed], num_steps))

    def _whole_layer(self, layer: int, part: Part, incoming: Tensor, offsets: Tensor, particles: slice) -> Tensor:
        """Costs ``[V, K]`` of candidates that shift the currents of all neurons of a layer."""
        offsets = offsets[:, particles]
        num_vertices, num_particles, dim = offsets.shape
        run, num_steps = self._of.run, self._num_steps
        if isinstance(part, Products):
            left, right = (
                m[particles.start * dim : particles.stop * dim].view(num_particles, dim, -1).to(incoming.dtype)
                for m in (part.left, part.right)
            )
            along = torch.einsum("kpn,tnb->ptkb", right, incoming)
            columns = [offsets[:, :, q, None].to(left.dtype) * left[:, q] for q in range(dim)]
            changes: list[Sequence[Tensor] | Tensor] = [along[q][:, None] for q in range(dim)]
        else:
            columns = [moves(part, offsets, particles).to(incoming.dtype).view(num_vertices, num_particles, *as_matrix(part.shape))]
            changes = [incoming]
        return self._costs(run(readout_of)(self._layers(layer), columns, changes, num_steps))

    def _layers(self, layer: int) -> Layers:
        behind = slice(layer + 1, None)
        neurons = tuple(self._neurons[layer:])
        return Layers(self._currents[layer], tuple(self._weights[behind]), tuple(self._biases[behind]), neurons, self._network.readout)

    def _costs(self, value: Tensor) -> Tensor:
        return self._cost(value, self._target).mean(-1)

r"""Node space: one optimization step without a backward pass.

For every particle (layer, neuron j, sample b) the probes give the costs ``C[v]`` at the vertices ``u_v`` (norm 1) of a
polytope, at one radius or several::

    P = transport(C)                  weights over the vertices
    d[j, b] = sum_v P[v] r_v u_v / mean(r)      the barycenter, |d| <= 1 for a single radius

and the displacement is pulled back to the weights of neuron j along sample b's own presynaptic activity ``a[b]``::

    W.grad[j] = -(N / K) mean_b sum_m d[j, b]_m a[b]_m

with N neurons of which K were probed; a convolution's weights collect this over all positions that share them. Any ``torch.optim``
optimizer takes it from ``.grad``.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels, kernels_on
from polystep_snn.engine.threads import taken_from_torch
from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import Cost, CrossEntropy, RateTarget, rate_scale
from polystep_snn.polystep.method import StepResult
from polystep_snn.polystep.polytope import random_rotation, vertices, with_radii
from polystep_snn.polystep.schedule import Scheduled, at, radii_at
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.snn.frames import EventFrames, Frames
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.loihi import CubaNeuron
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.quantize import quantize
from polystep_snn.snn.readouts import MembraneReadout
from polystep_snn.spaces.node.checks import can_be_followed, check, check_memory, check_rate_target, decides_over_time, explain
from polystep_snn.spaces.node.costs import settle
from polystep_snn.spaces.node.gradients import gradients
from polystep_snn.spaces.node.last_hop import End, make_end
from polystep_snn.spaces.node.one_pass import run_probes
from polystep_snn.spaces.node.pass_state import LayerProbes, Pass
from polystep_snn.spaces.node.pulled_back import placed
from polystep_snn.spaces.node.space import NodeSpace

if TYPE_CHECKING:
    # It needs numba.
    from polystep_snn.spaces.node.loops.step import LoopStep


class _Given(NamedTuple):
    """What costs and gradients are computed of."""

    layers: list[Layer]
    inputs: Frames | Tensor
    target: Tensor
    cost: Cost
    probes: list[LayerProbes]
    residual: float | None
    eps: float


class NodeStep:
    """Fills ``.grad`` of a network's parameters from forward passes alone.

    ``step`` takes the place of ``loss.backward()``: call it, then the optimizer's ``step()``. Nothing is differentiated, and no
    activation is stored: memory does not grow with the number of timesteps.

    Args:
        network: what is trained.
        space: how its neurons are probed.
        transport: from costs to weights; its ``eps`` may be a schedule.
        cost: what a readout costs. None for cross-entropy in which a difference of one spike a step is worth 7.5 nats.
        residual: share of the final membrane that the cost adds to a spike-count readout while training, so that outputs that
            do not fire yet can learn to; a schedule that ends at 0 leaves plain counts. None for the readout's own.
        rate_target: a term of the loss for the firing rates of hidden neurons; what ``step`` returns as loss is without it.
        every_step: the cost is the mean over all steps of the cost of the readout's membranes, not that of the last ones
            (``over_time.py``), so that early spikes have credit, and early decisions are right. Asks for a cost whose slope is known.
        compile: have compiled loops: numba's on the CPU, ``torch.compile``'s on a GPU.
        seed: of the random subsets and rotations.

    Attributes:
        generator: source of random subsets and rotations.
        evaluations: forward passes of a step: one, whatever is probed.
    """

    evaluations: ClassVar[int] = 1

    def __init__(
        self,
        network: SpikingNetwork,
        space: NodeSpace = NodeSpace(),
        transport: Transport = Softmax(eps=1.0),
        cost: Cost | None = None,
        residual: Scheduled | None = None,
        compile: bool = True,
        seed: int = 0,
        rate_target: RateTarget | None = None,
        every_step: bool = False,
    ):
        if not network.neurons and isinstance(network.readout, MembraneReadout):
            raise InputError(f"a network of sizes {network.sizes} has no neuron that fires: give it a hidden layer, or a SpikeCountReadout")
        if any(isinstance(p, LIFParameters) and p.i_0 is not None for p in network.neurons):
            raise InputError("i_0 gives neurons a current at the start, which is not trained in node space: set it to None")
        if residual is not None and isinstance(network.readout, MembraneReadout):
            raise InputError(f"residual is {residual}, but a membrane readout is its membrane: leave it out, or choose a SpikeCountReadout")
        self.network = network
        self.space = space
        self.rate_target = rate_target
        self.every_step = every_step
        self.transport = transport
        self.cost = cost
        self.residual = residual
        self._compile = compile
        self.kernels: Kernels
        self._loops: LoopStep | None
        self._known_layers: tuple[list[Any], list[Layer]] | None
        self._known_end: tuple[list[Layer], Any, End] | None
        self._settle_kernels()
        self.generator = torch.Generator().manual_seed(seed)
        self._points = vertices(space.polytope, space.num_windows)
        self._all_probes: tuple[Any, list[LayerProbes]] | None = None
        self._last_probes: list[LayerProbes] = []
        self._chained = space.credit == "chained" or (space.credit == "auto" and not can_be_followed(network, every_step))
        check_memory(network, space, self._points, every_step)
        check_rate_target(network, rate_target)

    @torch.no_grad()
    def step(self, inputs: Frames | Tensor, target: Tensor, progress: float = 0.0) -> StepResult:
        """Probe the network on a batch and write the negative displacement into every parameter's ``.grad``.

        Args:
            inputs: ``[T, B, N]``, or what an encoder returned for a batch.
            target: ``[B]`` classes, int64.
            progress: how much of the run lies behind, in [0, 1], for the schedules.

        Raises:
            InputError: shapes, dtypes or classes that do not fit the network; NaN or infinity in inputs or weights.
        """
        weights, biases = self.network.weights, self.network.biases
        check(self.network, inputs, target, weights[0])
        if self._kernels_for != self._kind_of_weights():
            self._settle_kernels()
        layers = self._layers([*weights, *biases, *self.network.recurrents.values()])
        probes = self._probes(len(inputs), progress, layers)
        cost = self.cost or _usual_cost(self.network.readout.full_scale(len(inputs)))
        residual = None if self.residual is None else at(self.residual, progress)
        given = _Given(layers, inputs, target, cost, probes, residual, at(self.transport.eps, progress))
        seen, grads, total = self._by_loops(given) if self.kernels.loops else self._by_torch(given)
        if not math.isfinite(total):
            explain(self.network, inputs)
        parameters = [*(p for pair in zip(weights, biases, strict=True) for p in pair), *self.network.recurrents.values()]
        parameters += self.network.lateness.values()
        for p, grad in zip(parameters, grads, strict=True):
            p.grad = grad
        return seen

    def _layers(self, parameters: list[torch.nn.Parameter]) -> list[Layer]:
        """What the network computes with: the same object, where its numbers are the parameters themselves and still in the same memory."""
        network = self.network
        if network.weight_bits == 8 or any(wiring.num_positions > 1 or wiring.learned_delays for wiring in network.wirings):
            return network.layers(self.kernels(quantize))
        known = [*(p.data_ptr() for p in parameters), network.readout, *network.neurons]
        if self._known_layers is None or self._known_layers[0] != known:
            self._known_layers = known, network.layers()
        return self._known_layers[1]

    def _by_torch(self, given: _Given) -> tuple[StepResult, list[Tensor], float]:
        """What a step returns, the gradients of weights and biases, and a sum that is finite where everything was."""
        layers, inputs, target, cost, probes, residual, eps = given
        space = self.space
        rest = residual, space.chunk, self._chained, space.recurrent_credit, self.every_step
        done = run_probes(self.network, layers, inputs, target, cost, probes, self.kernels, *rest)
        # A number would be compiled anew for each of its values.
        seen, grads, total = self.kernels(_conclude)(done, target, cost, self.transport, layers[0].weight.new_tensor(eps), self.rate_target)
        if done.plan.columns is not None and isinstance(inputs, EventFrames):
            # A weight at a pixel that is off throughout the batch is in no current.
            total = total + layers[0].weight.sum()
            arrived = inputs.windowed(probes[0].windows)
            grads[0] = placed(arrived.transposed_times(grads[0].T.contiguous()).T.contiguous(), probes[0].neurons, self.network.sizes[1])
        return seen, grads, total.item()

    def _by_loops(self, given: _Given) -> tuple[StepResult, list[Tensor], float]:
        """The same on the CPU."""
        from polystep_snn.spaces.node.loops.step import LoopStep, Shape

        layers, inputs, target, cost, probes, residual, eps = given
        if self._known_end is None or self._known_end[0] is not layers or self._known_end[1] != (len(inputs), residual):
            end = make_end(self.network.readout, layers[-1], len(inputs), residual, self.every_step)
            self._known_end = layers, (len(inputs), residual), end
        end = self._known_end[2]
        shape = Shape.of(inputs, target.shape[0], layers, end, probes)
        if self._loops is None or self._loops.shape != shape:
            # The old arrays are given back before there are new ones.
            self._loops = None
            self._loops = LoopStep(shape, layers, end, self._chained, self.space.recurrent_credit, self.space.chunk)
        with taken_from_torch():
            return self._loops(layers, end, probes, inputs, target, cost, self.transport, eps, self.rate_target)

    def release(self) -> None:
        """Give back the memory that is kept for the next step."""
        self._loops = None

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs beside the network's and the optimizer's own: tensors only."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called, to the bit.

        Raises:
            InputError: no state of a ``NodeStep``.
        """
        if "generator" not in state:
            raise InputError("this is no state of a NodeStep: 'generator' is missing")
        self.generator.set_state(state["generator"])

    def _probes(self, num_steps: int, progress: float, layers: Sequence[Layer]) -> list[LayerProbes]:
        """What to probe in each layer in this step; the same object, where nothing of it changes from step to step."""
        space, weight = self.space, layers[0].weight
        radii = radii_at(space.radius, progress)
        if space.readout_radius is None:
            readout_radii = [0.05 if isinstance(self.network.readout, MembraneReadout) else 0.3]
        else:
            readout_radii = radii_at(space.readout_radius, progress)
        key = (num_steps, radii, readout_radii, self.network.readout, tuple(self.network.neurons), weight.dtype, weight.device)
        if self._all_probes is None or self._all_probes[0] != key or space.rotate or self.network.integer:
            self._all_probes = key, self._make_probes(num_steps, radii, readout_radii, layers)
        probes = self._all_probes[1]
        self._last_probes = probes if space.num_probed is None else self._some(probes, layers)
        return self._last_probes

    def _some(self, probes: list[LayerProbes], layers: Sequence[Layer]) -> list[LayerProbes]:
        """The same probes of neurons that are drawn at random; the readout's of all."""
        chosen = []
        for p, layer, num_probed in zip(probes, layers[:-1], self.space.probed_of(len(layers) - 1), strict=False):
            width, neurons = layer.wiring.num_neurons, None
            if num_probed is not None and num_probed < width:
                neurons = torch.randperm(width, generator=self.generator)[:num_probed].sort().values.to(p.offsets.device)
            chosen.append(p._replace(neurons=neurons))
        return [*chosen, probes[-1]]

    def _make_probes(self, num_steps: int, radii: list[float], readout_radii: list[float], layers: Sequence[Layer]) -> list[LayerProbes]:
        """Probes of all neurons."""
        space, weight = self.space, layers[0].weight
        if space.num_windows > num_steps:
            raise InputError(f"num_windows is {space.num_windows}, but there are {num_steps} timesteps: choose at most as many")
        window_of_step = torch.arange(num_steps) * space.num_windows // num_steps
        windows = torch.nn.functional.one_hot(window_of_step, space.num_windows).to(weight)
        probes = []
        for layer in layers[:-1]:
            assert layer.neuron is not None
            probes.append(LayerProbes(layer.neuron.shifts(with_radii(self._turned(), radii).to(weight)), windows))
        # The readout is probed completely; one that is linear in one window, since its windows differ by nothing but a factor.
        last = layers[-1].neuron
        if decides_over_time(self.network, self.every_step):
            probes.append(LayerProbes(with_radii(self._turned(), readout_radii).to(weight), windows))
        elif not isinstance(self.network.readout, MembraneReadout):
            assert last is not None
            probes.append(LayerProbes(last.shifts(with_radii(self._turned(), readout_radii).to(weight)), windows))
        elif isinstance(last, CubaNeuron) and not last.adds_up:
            assert layers[-1].unit is not None
            shifts = with_radii(self._turned(), readout_radii).to(weight) / layers[-1].unit
            probes.append(LayerProbes(shifts.round(), windows))
        else:
            probes.append(LayerProbes(with_radii(vertices(space.polytope, 1), readout_radii).to(weight), torch.ones_like(windows[:, :1])))
        return probes

    def _turned(self) -> Tensor:
        """The polytope's vertices, turned at random if asked for."""
        return self._points @ random_rotation(self.space.num_windows, self.generator) if self.space.rotate else self._points

    def _kind_of_weights(self) -> tuple[torch.device, torch.dtype]:
        weight = self.network.weights[0]
        return weight.device, weight.dtype

    def _settle_kernels(self) -> None:
        """What computes a step, by where the weights are: a network may move to another device, or become another type."""
        self._loops = self._known_layers = self._known_end = None
        self._kernels_for = self._kind_of_weights()
        self.kernels = kernels_on(*self._kernels_for, self._compile)


@lru_cache(maxsize=8)
def _usual_cost(full_scale: float) -> CrossEntropy:
    return CrossEntropy(rate_scale(full_scale))


def _conclude(
    done: Pass, target: Tensor, cost: Cost, transport: Transport, eps: Tensor, rate_target: RateTarget | None
) -> tuple[StepResult, list[Tensor], Tensor]:
    """What a step returns, the gradients, and a sum that is finite where everything was."""
    found = settle(done, target, cost, rate_target)
    accuracy = found.right.to(found.value.dtype) / target.shape[0]
    grads = gradients(found.layers, done, transport, eps)
    return StepResult(found.cost.mean(), accuracy, found.rates), grads, found.total

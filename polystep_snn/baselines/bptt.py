r"""Backpropagation through time with a surrogate gradient, for comparison.

The forward pass is the hard-threshold network itself; backwards, the threshold's derivative is replaced by

    superspike      1 / (1 + |v - v_th|)^2             Norse's ``SuperSpike`` (Zenke and Ganguli 2018)
    fast sigmoid    1 / (1 + 25 |v - v_th|)^2          snnTorch's default slope

and the reset is not differentiated. It is written to be fast: the current of a constant input is computed once, a readout
without leak is one product with the spike counts, and the loops are compiled, forwards and backwards.
"""

from typing import ClassVar

import torch
from torch import Tensor

from polystep_snn.engine.compiled import Kernels
from polystep_snn.errors import InputError
from polystep_snn.polystep.cost import Cost, CrossEntropy, rate_scale, scores
from polystep_snn.polystep.method import StepResult
from polystep_snn.snn.frames import Constant, EventBlock, Frames, check_block, time_blocks
from polystep_snn.snn.layer import Layer
from polystep_snn.snn.loihi import CubaParameters
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import SpikeCountReadout
from polystep_snn.snn.wiring import past_steps
from polystep_snn.spaces.node.currents import multiply
from polystep_snn.spaces.node.last_hop import LinearEnd, make_end
from polystep_snn.spaces.node.memory import delayed
from polystep_snn.spaces.node.over_time import OverTimeEnd, integrated
from polystep_snn.spaces.node.populations import Neuron, at_rest, drive, drive_recurrent

SLOPE = 25.0


class FastSigmoid(torch.autograd.Function):
    """A hard threshold at 0 whose derivative is that of a fast sigmoid."""

    @staticmethod
    def forward(distance: Tensor) -> Tensor:
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        (distance,) = ctx.saved_tensors
        return grad / (1.0 + SLOPE * distance.abs()) ** 2


def fast_sigmoid(distance: Tensor) -> Tensor:
    """Spikes whose derivative is that of a fast sigmoid."""
    return FastSigmoid.apply(distance)


def superspike(distance: Tensor) -> Tensor:
    """Spikes with Norse's SuperSpike derivative."""
    from norse.torch.functional.superspike import SuperSpike

    return SuperSpike.apply(distance, 1.0)


class _EventCurrent(torch.autograd.Function):
    """Weights ``[M, N]`` times a block of events: ``[U, B, M]``."""

    @staticmethod
    def forward(ctx, weight: Tensor, events: EventBlock) -> Tensor:
        ctx.events = events
        return events.times(weight.T.contiguous())

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.events.matrix().transposed_times(grad.flatten(0, 1)).T.contiguous(), None


SURROGATES = {"fast_sigmoid": fast_sigmoid, "superspike": superspike}


class SurrogateBPTT:
    """Fills ``.grad`` by backpropagation through time; takes the place of ``PolyStep`` in a training loop.

    Args:
        network: what is trained; its parameters are made to require gradients.
        surrogate: a key of ``SURROGATES``.
        cost: what a readout costs; by default that of ``PolyStep``.
        compile: compile the loops with ``torch.compile``.
        every_step: as of ``NodeStep``.

    Attributes:
        evaluations: forward passes of a step.
    """

    evaluations: ClassVar[int] = 1

    def __init__(
        self,
        network: SpikingNetwork,
        surrogate: str = "fast_sigmoid",
        cost: Cost | None = None,
        compile: bool = True,
        every_step: bool = False,
    ):
        if surrogate not in SURROGATES:
            raise InputError(f"there is no surrogate {surrogate!r}: choose one of {', '.join(SURROGATES)}")
        if network.weight_bits != 32:
            raise InputError(f"weight_bits is {network.weight_bits}, and rounding has no derivative: choose 32 for surrogate gradients")
        if network.lateness:
            raise InputError("the network's delays are learnt, but they have no derivative: choose delays that stay as they are")
        self.network = network.requires_grad_(True)
        self.fire = SURROGATES[surrogate]
        self.cost = cost
        self.every_step = every_step
        self.kernels = Kernels(compile)

    def step(self, inputs: Frames | Tensor, target: Tensor, progress: float = 0.0) -> StepResult:
        """One forward and one backward pass over a batch: inputs, T frames ``[B, N]``, and target ``[B]``; ``progress`` changes nothing."""
        network = self.network
        with torch.enable_grad():
            # Not the network's own layers(), which are cut off from its parameters.
            readout = network.readout
            neuron = readout.neuron if isinstance(readout, SpikeCountReadout) else None
            assert not isinstance(neuron, CubaParameters)
            last = Layer(network.weights[-1], network.biases[-1], network.wirings[-1], neuron)
            end = make_end(readout, last, len(inputs), None, self.every_step)
            over_time = isinstance(end, OverTimeEnd)
            cost = self.cost or CrossEntropy(rate_scale(readout.full_scale(len(inputs))))
            neurons: list[Neuron] = [*(p for p in network.neurons if isinstance(p, LIFParameters)), *end.neurons]
            last_layer = len(neurons) - 1
            rest = [network.weights[0].new_zeros(n, len(target)) for n in network.sizes[1:]]
            base = [at_rest(r, p) for r, p in zip(rest, neurons, strict=False)]
            counts = [torch.zeros_like(r) for r in rest[: last_layer + 1]]
            past = [like.new_zeros(n, *like.shape) for n, like in zip(past_steps(network.wirings), rest[: last_layer + 1], strict=False)]
            traced = end.trace_shares(len(inputs), network.delays[-1]) if isinstance(end, LinearEnd) else None
            drive_of_all = None
            state, each = readout.initial_state(rest[-1]), list[Tensor]()
            for start, num_steps, frames in time_blocks(inputs, sparse=network.wirings[0].is_matrix):
                check_block(frames, len(target), network.sizes[0], network.weights[0].dtype)
                incoming = frames if isinstance(frames, EventBlock) else frames.transpose(1, 2)
                for layer, p in enumerate(neurons):
                    wiring, weight = network.wirings[layer], network.weights[layer]
                    # The current of a constant input is computed once.
                    if not layer and drive_of_all is not None:
                        current = drive_of_all
                    elif isinstance(incoming, EventBlock):
                        current = _EventCurrent.apply(weight, incoming).transpose(1, 2) + network.biases[0][:, None]
                    else:
                        current = multiply(wiring, weight, incoming) + wiring.spread(network.biases[layer])[:, None]
                    if not layer and isinstance(inputs, Constant):
                        drive_of_all = current
                    decay = end.decay if layer == last_layer else 1.0
                    shares = None if traced is None or layer < last_layer else traced[start : start + num_steps]
                    if wiring.recurrent:
                        recurrent = network.recurrents[str(layer)]
                        given = current, recurrent, past[layer][-1], base[layer], p, decay, num_steps, self.fire, shares
                        spikes, _, base[layer] = self.kernels(drive_recurrent)(*given)
                    else:
                        keep = layer < last_layer or decay != 1.0 or shares is not None or over_time
                        spikes, base[layer] = self.kernels(drive)(current, base[layer], p, decay, num_steps, keep, self.fire, shares)
                    counts[layer] = base[layer].trace.detach() if spikes is None else counts[layer] + spikes.detach().sum(0)
                    incoming = spikes
                    if spikes is not None and len(past[layer]):
                        delays = network.delays[layer + 1]
                        incoming = spikes if delays is None else delayed(spikes, past[layer], delays)
                        past[layer] = torch.cat([past[layer], spikes])[-len(past[layer]) :]
                if isinstance(end, OverTimeEnd):
                    assert isinstance(incoming, Tensor)
                    state, of_steps = integrated(end, state, multiply(last.wiring, last.weight, incoming) + last.bias[:, None])
                    each += [cost(membrane, target) for membrane in of_steps if self.every_step]
            if isinstance(end, OverTimeEnd):
                value = end.readout.membrane(state) if self.every_step else readout.value(state)
            else:
                value = end.value(network.weights, base[-1])
            loss = (torch.stack(each).mean(0) if each else cost(value, target)).mean()
            network.zero_grad(set_to_none=True)
            loss.backward()
        accuracy = scores(cost, value.detach(), target).mean()
        return StepResult(loss.detach(), accuracy, [c.mean(1) / len(inputs) for c in counts])

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: no step depends on the one before."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called: there is nothing to load.

        Raises:
            InputError: the state of something else.
        """
        if state:
            raise InputError(f"backpropagation has no state, but this one holds {', '.join(state)}: load what it returned")

"""The tasks of ``paper.py``: data, a network that has no derivative, a loss.

int8, staircase, attention and experts take their networks from ``examples/``. They are smaller than the paper's, so that two cores
suffice: 784-64-10 in place of 784-128-128-10, all layers on the int8 grid in place of the middle one; 16 patches of 7 x 7 pixels that
attend to one another in place of one key of eight; four experts of 24 neurons, on MNIST and, as ten further classes, MNIST inverted.
spiking is the paper's network: 784-128-10, 15 steps, spike counts, reset to zero. The others have the paper's data, or its size:
int8-128 is 784-128-128-10 with the middle layer on the int8 grid; attention-fashion learns Fashion-MNIST; experts-fashion learns MNIST
and Fashion-MNIST, 20 classes, with experts of 64 neurons; tanh is 784-128-10 in floating point.
"""

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from published import Unrolled
from torch import Tensor, nn

from polystep_snn import CrossEntropy, DirectCurrent, LIFParameters, SpikeCountReadout, SpikingNetwork
from polystep_snn.datasets import load
from polystep_snn.polystep.cost import rate_scale
from polystep_snn.training.feed import to_tensors

_EXAMPLES = Path(__file__).parents[1] / "examples"
_STEPS = 15
_AT_ONCE = 1000


def _from_example(name: str) -> dict[str, Any]:
    """What an example defines."""
    return runpy.run_path(str(_EXAMPLES / f"{name}.py"))


def make_spiking() -> SpikingNetwork:
    """The paper's spiking network; weights from torch's global generator."""
    neuron = LIFParameters.from_beta(0.95, reset="zero")
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    return SpikingNetwork([784, 128, 10], neuron, SpikeCountReadout(neuron), generator)


def make_int8_128() -> nn.Module:
    """The middle layer on the int8 grid."""
    int8_linear = _from_example("int8_mlp")["Int8Linear"]
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), int8_linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def make_tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10))


def scaled_counts(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of spike counts ``[B, 10]``, at the scale that ``PolyStep`` gives them by default."""
    return nn.functional.cross_entropy(rate_scale(_STEPS) * output, target)


@dataclass(frozen=True)
class Task:
    """What is learnt.

    Attributes:
        make: the network, with weights from torch's global generator.
        paper: test accuracy (%) that the paper states for its own, larger network; of attention, on Fashion-MNIST.
        budget: candidate evaluations of a long run.
        sets: of images; the second one's classes are ten more. "inverted" is the first one inverted.
    """

    make: Callable[[], nn.Module]
    paper: float
    budget: int
    sets: tuple[str, ...] = ("mnist",)

    def data(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Images ``[n, 784]`` in [0, 1] and classes ``[n]`` of "train", "validation" and "test"."""
        first, *more = self.sets
        parts = _parts(first)
        if more == ["inverted"]:
            with_inverted = _from_example("mixture_of_experts")["with_inverted"]
            return {name: with_inverted(*part) for name, part in parts.items()}
        for name in more:
            others = _parts(name)
            parts = {k: (torch.cat([x, others[k][0]]), torch.cat([y, others[k][1] + 10])) for k, (x, y) in parts.items()}
        return parts


def _parts(name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Of one set."""
    images = load(name)
    return {part: to_tensors(getattr(images, part), torch.device("cpu")) for part in ("train", "validation", "test")}


def plain(network: nn.Module) -> nn.Module:
    """The network as a function of images ``[B, 784]``, on the same parameters: for methods that know nothing of spikes."""
    return Unrolled(network, _STEPS) if isinstance(network, SpikingNetwork) else network


def plain_loss(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """What an output ``[B, C]`` of the plain network costs."""
    return scaled_counts if isinstance(network, SpikingNetwork) else nn.CrossEntropyLoss()


def own_loss(network: nn.Module) -> Any:
    """The same for ``WeightStep``."""
    return CrossEntropy(rate_scale(_STEPS)) if isinstance(network, SpikingNetwork) else nn.CrossEntropyLoss()


def own_inputs(network: nn.Module, images: Tensor) -> Any:
    """Images as ``WeightStep`` takes them."""
    return DirectCurrent(_STEPS)(images) if isinstance(network, SpikingNetwork) else images


@torch.no_grad()
def accuracy(network: nn.Module, part: tuple[Tensor, Tensor]) -> float:
    """Percent of right decisions."""
    function = plain(network)
    right = sum(int((function(x).argmax(1) == y).sum()) for x, y in zip(*(p.split(_AT_ONCE) for p in part), strict=True))
    return 100 * right / len(part[1])


TASKS = {
    "int8": Task(_from_example("int8_mlp")["int8_mlp"], 97.1, 12_000_000),
    "staircase": Task(_from_example("staircase_activation")["staircase_mlp"], 93.2, 6_000_000),
    "experts": Task(_from_example("mixture_of_experts")["mixture_of_experts"], 90.7, 4_000_000, ("mnist", "inverted")),
    "attention": Task(_from_example("argmax_attention")["argmax_attention"], 86.8, 2_000_000),
    "spiking": Task(make_spiking, 93.4, 6_000_000),
    "int8-128": Task(make_int8_128, 97.0, 300_000),
    "attention-fashion": Task(_from_example("argmax_attention")["argmax_attention"], 86.6, 300_000, ("fashion-mnist",)),
    "experts-fashion": Task(
        partial(_from_example("mixture_of_experts")["mixture_of_experts"], num_hidden=64), 90.6, 300_000, ("mnist", "fashion-mnist")
    ),
    "tanh": Task(make_tanh, 96.8, 300_000),
}

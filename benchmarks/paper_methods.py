"""The methods of ``paper.py``: each makes one step on a batch, and says how many candidates that takes.

    layers       this package's layer space, Adam on what it finds; it finds its radius itself
    weights      this package's weight space, Adam on the displacement: a few random groups of weights a step, or for long runs low rank
    published    ``polystep`` from PyPI, with the settings of its own experiments or with fewer coordinates
    openai_es, eggroll, spsa    on all parameters
    cma_es       in a random subspace: a full covariance of 50,890 weights takes 20 GB

One generation of a method that samples candidates sees one batch.
"""

import importlib.util
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from paper_tasks import own_inputs, own_loss, plain, plain_loss
from torch import Tensor, nn

from polystep_snn.baselines.evolution import CMAES, EGGROLL, SPSA, OpenAIES
from polystep_snn.baselines.objective import ModuleObjective
from polystep_snn.errors import InputError
from polystep_snn.polystep.ask_tell import AskTell
from polystep_snn.polystep.relative import Relative
from polystep_snn.polystep.transport import Softmax, Transport
from polystep_snn.spaces.layer.space import LayerSpace
from polystep_snn.spaces.layer.step import LayerStep
from polystep_snn.spaces.weight.step import WeightSpace, WeightStep
from polystep_snn.spaces.weight.subspaces import HybridLowRank, SparseProjection

# Four settings a method, among which validation chooses.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "layers": [{"lr": lr} for lr in (1e-3, 2e-3, 4e-3, 8e-3)],
    "weights": [{"lr": 5e-3, "count": 1_000_000}, {"lr": 5e-3, "count": 10_000}, {"lr": 1e-2, "count": 10_000}, {"lr": 1e-2}],
    "published": [
        {},
        {"max_subspace_dim": 512},
        {"max_subspace_dim": 512, "shorter": 4.0},
        {"max_subspace_dim": 2048, "shorter": 4.0},
    ],
    "openai_es": [{"sigma": s, "lr": lr, "popsize": 50} for s, lr in ((0.02, 0.005), (0.02, 0.02), (0.05, 0.02), (0.05, 0.05))],
    "eggroll": [{"sigma": s, "lr": lr, "popsize": 50} for s, lr in ((0.02, 0.005), (0.02, 0.02), (0.05, 0.02), (0.05, 0.05))],
    "spsa": [{"a": a, "c": 0.02} for a in (0.01, 0.03, 0.1, 0.3)],
    "cma_es": [{"dim": dim, "sigma": sigma} for dim in (100, 200) for sigma in (0.3, 1.0)],
}
# Of the published package: rank, and eps, step and probe radius at the start and end of a run, as in its own experiments.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "int8": {"rank": 8, "eps": (5.0, 0.3), "step": (32.0, 8.0), "probe": (2.0, 0.5), "momentum": (0.3, 0.5)},
    "attention": {"rank": 8, "eps": (5.0, 0.3), "step": (32.0, 8.0), "probe": (2.0, 0.5)},
    "staircase": {"rank": 4, "eps": (5.0, 1.0), "step": (64.0, 32.0), "probe": (2.0, 1.0)},
    "experts": {"rank": 4, "eps": (0.5, 0.5), "step": (12.0, 4.0), "probe": (1.0, 1.0), "biased_rotation": True, "absorb": 20},
    "spiking": {"rank": 4, "eps": (0.5, 0.5), "step": (2.0, 2.0), "probe": (1.0, 1.0), "biased_rotation": True, "absorb": 20},
}
# Evaluations from which on a spiking network's loops over time win more than half a minute by being compiled.
_WORTH_COMPILING = 1_000_000


class Method(Protocol):
    """Trains a network; after a step, its parameters are those that the method stands at.

    Attributes:
        evaluations: candidates that the next step evaluates; where a step turns out to need more, the method says so in ``more``.
    """

    @property
    def evaluations(self) -> int: ...

    def step(self, images: Tensor, labels: Tensor, progress: float) -> None: ...


class Gradients:
    """One of this package's spaces, whose gradients go to Adam; its learning rate follows a cosine.

    Args:
        polystep: fills ``.grad`` of the network's parameters.
        given: what it is called with, of images.

    Attributes:
        more: forward passes that the last step made beyond those that it had announced.
    """

    def __init__(self, network: nn.Module, polystep: WeightStep | LayerStep, lr: float, given: Callable[[Tensor], Any] = lambda x: x):
        self.polystep, self.lr, self._given, self.more = polystep, lr, given, 0
        self.optimizer = torch.optim.Adam(network.parameters(), lr=lr, betas=(0.9, 0.99))

    @property
    def evaluations(self) -> int:
        return self.polystep.evaluations

    def step(self, images: Tensor, labels: Tensor, progress: float) -> None:
        self.optimizer.param_groups[0]["lr"] = self.lr * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))
        before, said = getattr(self.polystep, "passes", 0), self.polystep.evaluations
        self.polystep.step(self._given(images), labels, progress)
        self.more = max(0, getattr(self.polystep, "passes", 0) - before - said)
        self.optimizer.step()


def weights(network: nn.Module, budget: int, seed: int, lr: float, count: int | None = None, rank: int = 8) -> Gradients:
    """Weight space.

    Args:
        count: weights that move together, at random, in every parameter; None for low rank, hundreds of coordinates a step. Of few
            coordinates costs are not taken relative to their spread, which one pair of candidates does not have.
        rank: directions of a row, of low rank.
    """
    transport: Transport = Relative()
    if count is None:
        space = WeightSpace(0.5, HybridLowRank(rank), particle_dim=rank, polytope="simplex")
    else:
        space, transport = WeightSpace(2.0, SparseProjection(count), particle_dim=1), Softmax()
    compile = count is None and budget >= _WORTH_COMPILING
    polystep = WeightStep(network, own_loss(network), space, transport, compile=compile, seed=seed)
    return Gradients(network, polystep, lr, partial(own_inputs, network))


def layers(network: nn.Module, seed: int, lr: float, **space: Any) -> Gradients:
    """Layer space."""
    loss = nn.CrossEntropyLoss(reduction="none")
    return Gradients(network, LayerStep(plain(network), loss, LayerSpace(**space), seed=seed), lr)


class Vector:
    """An ask/tell method on the parameters as one vector.

    Args:
        make: the method, from the vector that it begins at, and the parameters' shapes.
        dim: random directions that it searches instead, each a group of weights that move together; None for all weights.
    """

    def __init__(self, network: nn.Module, seed: int, make: Callable[[Tensor, list], AskTell], dim: int | None = None):
        self.objective = ModuleObjective(plain(network), plain_loss(network))
        self.start = self.objective.vector()
        numel = len(self.start)
        if dim is None:
            self.part = None
            self.method = make(self.start, self.objective.shapes)
        else:
            generator = torch.Generator().manual_seed(seed)
            self.part = SparseProjection(-(-numel // dim)).draw("all", self.start, generator, None)
            self.method = make(self.start.new_zeros(self.part.size), [])

    @property
    def evaluations(self) -> int:
        return self.method.popsize

    def vectors(self, found: Tensor) -> Tensor:
        """All weights ``[n, numel]`` of what the method found, ``[n, dim]``."""
        part = self.part
        return found if part is None else torch.stack([self.start + part.expand(f) for f in found])

    def step(self, images: Tensor, labels: Tensor, progress: float) -> None:
        self.method.tell(self.objective.on(images, labels)(self.vectors(self.method.ask())))
        self.objective.load(self.vectors(self.method.mean[None])[0])


class Published:
    """The published package.

    Args:
        shorter: by how much its steps are shorter than in its own experiments.
        max_subspace_dim: coordinates in all; None for what the rank of its own experiments gives.
    """

    def __init__(self, task: str, network: nn.Module, budget: int, seed: int, shorter: float = 1.0, max_subspace_dim: int | None = None):
        if not importlib.util.find_spec("polystep"):
            raise InputError("the package `polystep` is not installed here: pip install polystep, or leave `published` out of --methods")
        from polystep import CosineEpsilon, HybridSubspace, ParamLayout, PolyStepOptimizer

        warnings.filterwarnings("ignore", module=r"polystep\.")
        warnings.filterwarnings("ignore", message="biased_rotation is aligning")  # as its own experiments have it
        own = _PUBLISHED[task]
        model = plain(network).requires_grad_(True)
        subspace = HybridSubspace.from_layout(
            ParamLayout.from_module(model),
            rank=own["rank"],
            seed=seed,
            max_subspace_dim=max_subspace_dim,
            rotation_mode="random",
            rotation_interval=0,
            absorb_mode="periodic",
            absorb_interval=own.get("absorb", 0),
        )
        # Simplices of eight coordinates: nine candidates for eight of them.
        self.evaluations = math.ceil(subspace.subspace_dim / 8) * 9
        num_steps = max(1, budget // self.evaluations)

        def falling(values: tuple[float, float], by: float = 1.0) -> Any:
            first, last = (v / by for v in values)
            return first if first == last else CosineEpsilon(init=first, target=last, total_steps=num_steps)

        momentum = dict(zip(("momentum_init", "momentum_final"), own.get("momentum", ()), strict=False))
        self.optimizer = PolyStepOptimizer(
            model,
            subspace=subspace,
            solver="softmax",
            epsilon=falling(own["eps"]),
            step_radius=falling(own["step"], shorter),
            probe_radius=falling(own["probe"]),
            biased_rotation=own.get("biased_rotation", False),
            max_iterations=num_steps,
            seed=seed,
            use_momentum=bool(momentum),
            **momentum,
        )
        self.loss = plain_loss(network)

    def step(self, images: Tensor, labels: Tensor, progress: float) -> None:
        before = self.optimizer.candidate_evals
        self.optimizer.step_batch(images, labels, loss_fn=self.loss)
        # What it counted itself stands for the next step too.
        self.evaluations = self.optimizer.candidate_evals - before


def make_method(name: str, task: str, network: nn.Module, budget: int, seed: int, setting: dict[str, Any]) -> Method:
    """A method on a network. ``budget`` is what its schedules are planned for."""
    if name == "layers":
        return layers(network, seed, **setting)
    if name == "weights":
        return weights(network, budget, seed, **setting)
    if name == "published":
        return Published(task, network, budget, seed, **setting)
    if name == "openai_es":
        return Vector(network, seed, lambda x, _: OpenAIES(x, seed=seed, **setting))
    if name == "eggroll":
        return Vector(network, seed, lambda x, shapes: EGGROLL(x, shapes, seed=seed, **setting))
    if name == "spsa":
        return Vector(network, seed, lambda x, _: SPSA(x, stability=0.05 * budget, seed=seed, **setting))
    if name == "cma_es":
        return Vector(network, seed, lambda x, _: CMAES(x, sigma=setting["sigma"], seed=seed), dim=setting["dim"])
    raise InputError(f"there is no method {name!r}: choose one of {', '.join(SETTINGS)}")

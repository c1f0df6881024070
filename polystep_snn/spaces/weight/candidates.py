"""What candidates cost: the parts that every way of evaluating them shares.

A candidate is a module with one parameter changed. Three files evaluate candidates, each re-using what a candidate leaves unchanged:

    any_module.py  any module: a forward pass for each candidate, many at a time
    sequential.py  ``nn.Sequential``: layers before the changed one are computed once, linear layers are corrected, not multiplied
    spiking.py     ``SpikingNetwork``: one neuron through time and a rank-one correction of the next layer

``choose.py`` picks one and says so. Candidates of modules start alike, whatever a module keeps from pass to pass:

    same_start.py    random numbers, buffers and everything else, put back for every candidate
    module_state.py  the record of a module's state
    reached.py       what belongs to it, found by walking through attributes
    records.py       how each kind of object is recorded
    repeats.py       costs that depend on more are refused
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.directions import Part

log = logging.getLogger("polystep_snn")

Loss = Callable[[Any, Any], Any]
"""``loss(output, target)``: the mean over the batch as a scalar, or one number a sample, ``[B]``. Only its value is used."""


class Batch(Protocol):
    """A module on one batch: the unprobed forward pass has been made, candidates can be asked for.

    Attributes:
        loss: of the unprobed module, a scalar tensor.
        output: of the unprobed module.
        rates: spikes a step of every neuron of every spiking layer, where it is known that there are any.
    """

    loss: Tensor
    output: Any
    rates: list[Tensor]

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        """Costs ``[V, P]`` of all candidates of a parameter.

        Args:
            part: the directions.
            offsets: ``[V, P, p]``, where each of P particles stands at each of V vertices, in its p coordinates: particle i moves
                coordinates ``i * p`` to ``(i + 1) * p`` of the part.
        """
        ...


class Evaluator(Protocol):
    """Evaluates candidates of one module."""

    def batch(self, inputs: Any, target: Any) -> Batch:
        """The unprobed forward pass on a batch, and whatever candidates can re-use of it."""
        ...

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        """The batch in slices that fit into memory, ``(share of the samples, inputs, target)`` each."""
        ...


def tiles(offsets: Tensor, at_once: int) -> Iterator[tuple[slice, slice]]:
    """All candidates at offsets ``[V, P, p]``, at most ``at_once`` at a time: slices of vertices and of particles."""
    num_vertices, num_particles, _ = offsets.shape
    vertices, particles = min(num_vertices, at_once), max(1, at_once // num_vertices)
    for first in range(0, num_particles, particles):
        for v in range(0, num_vertices, vertices):
            yield slice(v, min(v + vertices, num_vertices)), slice(first, min(first + particles, num_particles))


def moves(part: Part, offsets: Tensor, particles: slice) -> Tensor:
    """By how much each candidate of K particles moves the parameter, ``[V, K, numel]``, for their offsets ``[V, K, p]``."""
    num_particles, dim = offsets.shape[1:]
    directions = part.directions(particles.start * dim, particles.stop * dim).view(num_particles, dim, -1)
    return torch.einsum("vkp,kpn->vkn", offsets.to(directions.dtype), directions)


def materialise(part: Part, offsets: Tensor, particles: slice, parameter: Tensor) -> Tensor:
    """The changed parameter of the candidates at offsets ``[V, P, p]``, written out for K of the P particles: ``[V * K, *shape]``."""
    moved = moves(part, offsets[:, particles], particles)
    values = parameter.detach().to(moved.dtype).reshape(-1) + moved
    return values.to(parameter.dtype).reshape(-1, *parameter.shape)


def num_samples(inputs: Any, target: Any, dim: int = 0) -> int | None:
    """The length of the batch, dimension ``dim`` of the inputs; None where neither inputs nor target are tensors with a batch."""
    for value in as_arguments(inputs):
        if isinstance(value, Tensor) and value.ndim > dim:
            return value.shape[dim]
    return len(target) if isinstance(target, Tensor) and target.ndim else None


def as_arguments(inputs: Any) -> tuple:
    """What the module is called with: a tuple is its arguments, None is no argument, anything else is the only one."""
    if inputs is None:
        return ()
    return inputs if isinstance(inputs, tuple) else (inputs,)


def mean_loss(value: Any, samples: int | None) -> Tensor:
    """A loss as one number.

    Raises:
        InputError: a shape that is neither ``[]`` nor ``[B]``.
    """
    if isinstance(value, int | float):
        value = torch.tensor(float(value))
    if not isinstance(value, Tensor):
        raise InputError(f"the loss is a {type(value).__name__}: return a scalar tensor, or one number a sample")
    if value.is_complex():
        raise InputError(f"the loss is {value.dtype}: return real numbers")
    if not value.is_floating_point():
        value = value.to(torch.get_default_dtype())
    if value.ndim == 0 or (value.ndim == 1 and len(value) == samples):
        return value.mean()
    wanted = "a scalar" if samples is None else f"a scalar, or [{samples}], one number a sample"
    raise InputError(f"the loss has shape {list(value.shape)}: return {wanted}")


class Start(Protocol):
    """What candidates start from: ``RandomNumbers``, or ``SameStart``."""

    def again(self) -> AbstractContextManager[None]:
        """For one candidate, or for many at once, whatever others have done before."""
        ...


class Many:
    """Calls a function of one candidate for many: with ``torch.vmap`` where that works, else one at a time.

    Which it is turns out as soon as vmap fails, and is logged. A function that fails either way fails with its own error.

    Attributes:
        vectorised: whether vmap has worked so far; None before the first call.
    """

    def __init__(self, what: str):
        self.what = what
        self.vectorised: bool | None = None

    def __call__(self, fn: Callable[[Tensor], Tensor], start: Start, stacked: Tensor) -> Tensor:
        """Costs ``[N]`` of ``fn`` for every slice of ``stacked`` along its first dimension, each from the same start."""
        if self.vectorised is not False:
            version = stacked._version
            try:
                with start.again():
                    # A module may write into its parameters before vmap fails.
                    costs = torch.vmap(fn, randomness="same")(stacked if self.vectorised else stacked.clone())
                if self.vectorised is None:
                    self.vectorised = True
                    log.info("candidates of %s are evaluated many at a time (vmap)", self.what)
                return costs
            except (InputError, MemoryError, torch.OutOfMemoryError):
                raise
            except Exception as error:
                if stacked._version != version:
                    raise
                reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                with start.again():
                    fn(_alone(stacked[0].clone()))  # an error of the module's own comes out here, without vmap's words around it
                self.vectorised = False
                log.warning("candidates of %s are evaluated one at a time, since vmap does not work: %.200s", self.what, reason)
        found = []
        for one in stacked:
            with start.again():
                found.append(fn(_alone(one)))
        return torch.stack(found)


def _alone(value: Tensor) -> Tensor:
    # Some modules look for a Parameter where they have put one.
    return torch.nn.Parameter(value, requires_grad=False)

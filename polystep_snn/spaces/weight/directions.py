r"""The directions in which one parameter may move, as few numbers as possible.

A part is a linear map from coordinates ``c: [D]`` to a change of one parameter. All its directions have Euclidean length 1 and are
orthogonal (those of ``Products`` on average), so a radius is a distance in weights whatever the part::

    Rows        dW[j] = sum_k c[j, k] right[k]        every row of a matrix on its own, D = n_out * r; right = identity for every weight
    Products    dW = sum_k c[k] left[k] (x) right[k]  whole matrices of rank one, D = K
    Groups      dW[i] = sign[i] c[g(i)] / sqrt(n)     n randomly chosen weights together, D = numel / n

What a part knows about its structure is what candidates are evaluated with: a row changes one neuron, a product needs no matrix.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


def as_matrix(shape: torch.Size) -> tuple[int, int]:
    """``(n_out, n_in)`` of a parameter: everything but the first dimension is input; vectors have one input, scalars one entry."""
    n_out = shape[0] if shape else 1
    return n_out, math.prod(shape[1:])


class Part(Protocol):
    """Directions of one parameter.

    Attributes:
        name: of the parameter.
        shape: of the parameter.
        size: D, the number of coordinates.
        row: coordinates that follow each other and belong together; particles do not cross their bounds. Divides ``size``.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> torch.Size: ...

    @property
    def size(self) -> int: ...

    @property
    def row(self) -> int: ...

    def directions(self, start: int, stop: int) -> Tensor:
        """The directions of coordinates ``start`` to ``stop``, written out: ``[stop - start, *shape]``."""
        ...

    def expand(self, coordinates: Tensor) -> Tensor:
        """The change of the parameter, ``[*shape]``, for coordinates ``[D]``."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Every row of a matrix moves on its own, in the span of the same few rows.

    Attributes:
        right: ``[r, n_in]``, orthonormal; None for the identity, so that every weight is a coordinate.
        like: a tensor on the parameter's device, of the coordinates' dtype.
    """

    name: str
    shape: torch.Size
    right: Tensor | None
    like: Tensor

    @property
    def row(self) -> int:
        return as_matrix(self.shape)[1] if self.right is None else len(self.right)

    @property
    def size(self) -> int:
        return as_matrix(self.shape)[0] * self.row

    def directions(self, start: int, stop: int) -> Tensor:
        n_out, n_in = as_matrix(self.shape)
        index = torch.arange(start, stop, device=self.like.device)
        chosen = torch.arange(stop - start, device=self.like.device)
        out = self.like.new_zeros(stop - start, n_out, n_in)
        if self.right is None:
            out[chosen, index // n_in, index % n_in] = 1.0
        else:
            out[chosen, index // self.row] = self.right[index % self.row]
        return out.view(-1, *self.shape)

    def expand(self, coordinates: Tensor) -> Tensor:
        if self.right is None:
            return coordinates.reshape(self.shape)
        return (coordinates.view(-1, self.row) @ self.right).view(self.shape)


@dataclass(frozen=True, eq=False)
class Products:
    """Matrices of rank one.

    Attributes:
        left: ``[K, n_out]``, rows of length 1.
        right: ``[K, n_in]``, rows of length 1.
    """

    name: str
    shape: torch.Size
    left: Tensor
    right: Tensor

    @property
    def size(self) -> int:
        return len(self.left)

    @property
    def row(self) -> int:
        return self.size

    def directions(self, start: int, stop: int) -> Tensor:
        return (self.left[start:stop, :, None] * self.right[start:stop, None, :]).view(-1, *self.shape)

    def expand(self, coordinates: Tensor) -> Tensor:
        return ((self.left.T * coordinates) @ self.right).view(self.shape)


@dataclass(frozen=True, eq=False)
class Groups:
    """Every weight belongs to one group, whose members move together, each with its own sign.

    Attributes:
        order: ``[numel]``, the weights' flat indices, group by group.
        signs: ``[numel]``, ±1 in this order.
        count: weights of a group; the last group may have fewer.
    """

    name: str
    shape: torch.Size
    order: Tensor
    signs: Tensor
    count: int

    @property
    def size(self) -> int:
        return -(-len(self.order) // self.count)

    @property
    def row(self) -> int:
        return self.size

    def _weights(self) -> Tensor:
        """``[numel]``: signs over the square root of the group's size, in the order of ``order``."""
        weights = self.signs / math.sqrt(self.count)
        rest = len(self.order) % self.count
        if rest:
            weights[-rest:] *= math.sqrt(self.count / rest)
        return weights

    def directions(self, start: int, stop: int) -> Tensor:
        members = slice(start * self.count, stop * self.count)
        order = self.order[members]
        out = self.signs.new_zeros(stop - start, len(self.order))
        count = min(self.count, len(self.order))
        out[torch.arange(len(order), device=order.device) // count, order] = self._weights()[members]
        return out.view(-1, *self.shape)

    def expand(self, coordinates: Tensor) -> Tensor:
        out = torch.empty_like(self.signs)
        out[self.order] = self._weights() * coordinates.repeat_interleave(self.count)[: len(self.order)]
        return out.view(self.shape)

r"""Attention with several heads, soft or hard, whose queries, keys, values and output are linear layers.

``torch.nn.MultiheadAttention`` computes inside of one call, where no layer can be probed. The soft one here computes the same::

    score[l, s] = query[l] . key[s] / sqrt(d)          of a head, with d numbers
    weight[l, :] = softmax(score[l, :])                hard: 1 at the largest score, 0 elsewhere
    out = W_out concat over heads of  weight @ value

Source: Vaswani et al. 2017. A hard choice has no derivative; layer space and weight space need none.
"""

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError


class MultiheadAttention(nn.Module):
    """Attention of several heads; batches come first, ``[B, L, E]``.

    No sample depends on another, and ``torch.vmap`` can run it. It returns the output alone, so that it can stand in an
    ``nn.Sequential``; ``weights`` tells who attends to whom.

    Args:
        embed_dim: numbers of a query and of an output, E; a multiple of ``num_heads``.
        num_heads: heads, which attend independently, with E / num_heads numbers each.
        bias: whether the linear layers have biases.
        kdim, vdim: numbers of what keys and values are made of; None for E.
        hard: every query takes the value of the key with the largest score, and of several equal ones the first. Else a softmax of the
            scores weighs all values.

    Attributes:
        queries, keys, values, out: the linear layers.

    Raises:
        InputError: a size below 1, or ``embed_dim`` that heads do not divide.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, bias: bool = True, kdim: int | None = None, vdim: int | None = None, hard: bool = False
    ):
        super().__init__()
        kdim, vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        for name, number in (("embed_dim", embed_dim), ("num_heads", num_heads), ("kdim", kdim), ("vdim", vdim)):
            if number < 1:
                raise InputError(f"{name} is {number}: choose at least 1")
        if embed_dim % num_heads:
            raise InputError(f"embed_dim is {embed_dim}, which {num_heads} heads do not divide: choose a multiple of num_heads")
        self.embed_dim, self.num_heads, self.hard = embed_dim, num_heads, hard
        self.queries, self.keys = nn.Linear(embed_dim, embed_dim, bias), nn.Linear(kdim, embed_dim, bias)
        self.values, self.out = nn.Linear(vdim, embed_dim, bias), nn.Linear(embed_dim, embed_dim, bias)

    @classmethod
    def from_torch(cls, attention: nn.MultiheadAttention, hard: bool = False) -> "MultiheadAttention":
        """The same network with copies of the weights; a soft one's outputs are equal up to rounding.

        What ``attention`` was made with as ``batch_first`` changes no weight: here batches come first.

        Raises:
            InputError: attention with dropout, ``add_bias_kv`` or ``add_zero_attn``.
        """
        for name, there in (
            ("dropout", attention.dropout),
            ("add_bias_kv", attention.bias_k is not None),
            ("add_zero_attn", attention.add_zero_attn),
        ):
            if there:
                raise InputError(f"the attention has {name}={there}, which polystep_snn.MultiheadAttention has not: give one without")
        bias, packed = attention.in_proj_bias, attention.in_proj_weight
        made = cls(attention.embed_dim, attention.num_heads, bias is not None, attention.kdim, attention.vdim, hard)
        made.to(attention.out_proj.weight).train(attention.training)
        apart = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        weights = (apart if packed is None else packed.chunk(3), (None,) * 3 if bias is None else bias.chunk(3))
        with torch.no_grad():
            for layer, weight, offset in zip((made.queries, made.keys, made.values), *weights, strict=True):
                layer.weight.copy_(weight)
                if offset is not None:
                    layer.bias.copy_(offset)
        made.out.load_state_dict(attention.out_proj.state_dict())
        return made

    def weights(
        self, query: Tensor, key: Tensor | None = None, key_padding_mask: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """How much each query takes of each value, ``[B, heads, L, S]``; rows sum to 1.

        Args:
            query, key, key_padding_mask, attn_mask: as of ``forward``.
        """
        key = query if key is None else key
        for name, given, layer in (("query", query, self.queries), ("key", key, self.keys)):
            _check_given(name, given, len(query), layer)
        scores = self._heads(self.queries(query)) @ self._heads(self.keys(key)).transpose(-1, -2)
        scores = scores * (self.embed_dim // self.num_heads) ** -0.5
        shape = (len(query), query.shape[1], key.shape[1])
        if key_padding_mask is not None:
            _check_mask("key_padding_mask", key_padding_mask, [(shape[0], shape[2])])
            scores = scores + _as_scores(key_padding_mask, scores)[:, None, None]
        if attn_mask is not None:
            _check_mask("attn_mask", attn_mask, [shape[1:], shape])
            scores = scores + _as_scores(attn_mask, scores).unsqueeze(-3)
        if not self.hard:
            return scores.softmax(-1)
        best, chosen = scores.max(-1, keepdim=True)
        # The difference is 0, but NaN where all keys are masked: there is nothing to choose, and a softmax says NaN too.
        return (torch.arange(scores.shape[-1], device=scores.device) == chosen).to(scores.dtype) + (best - best)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: ``[B, L, E]``.
            key: ``[B, S, kdim]``; None for the query: self-attention.
            value: ``[B, S, vdim]``; None for the key.
            key_padding_mask: ``[B, S]``, keys that nobody attends to are True; or numbers that are added to the scores.
            attn_mask: ``[L, S]``, or ``[B, L, S]``, pairs that do not attend are True; or numbers that are added to the scores.

        Returns:
            ``[B, L, E]``; NaN for a query whose keys are all masked.

        Raises:
            InputError: tensors of another shape.
        """
        key = query if key is None else key
        value = key if value is None else value
        weights = self.weights(query, key, key_padding_mask, attn_mask)
        _check_given("value", value, len(query), self.values)
        if key.shape[1] != value.shape[1]:
            raise InputError(f"there are {key.shape[1]} keys and {value.shape[1]} values a sample: give as many")
        return self.out((weights @ self._heads(self.values(value))).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """Of ``[B, L, E]`` makes ``[B, heads, L, E / heads]``."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, num_heads={self.num_heads}, hard={self.hard}"


def _as_scores(mask: Tensor, like: Tensor) -> Tensor:
    """What is added to scores: minus infinity where a mask is True."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask.to(like.dtype)


def _check_given(name: str, given: Tensor, size: int, layer: nn.Linear) -> None:
    if given.ndim != 3 or given.shape[2] != layer.in_features or len(given) != size:
        raise InputError(f"the {name} is {list(given.shape)}: give [{size}, length, {layer.in_features}]")


def _check_mask(name: str, mask: Tensor, shapes: list[tuple[int, ...]]) -> None:
    if tuple(mask.shape) not in shapes:
        raise InputError(f"{name} is {list(mask.shape)}: give " + " or ".join(str(list(shape)) for shape in shapes))

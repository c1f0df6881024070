r"""Learned credit: what the slopes at a layer's outputs are likely to be, from what earlier steps have measured.

A layer reaches the cost through its consumers: the inputs of later layers, and the module's output. Slopes there are known, or predicted
already: v. Each output of the layer has a partner among these inputs, the one that moves with it (found by correlation over the steps), and

    p[b, j] = s[j, bin(o[b, j])] v[b, partner(j)]

where s, a number for every output and for each of eight intervals of its value, is how the partner moved when the output was shifted (the
slope of whatever lies between, an activation, say), corrected by how well it has explained what was measured. A prediction that explains
nothing is switched off by ``Share``, the coefficient of this control variate, which is measured too. All of it comes from earlier steps and
from the unprobed pass: it knows nothing of the directions that are drawn. Corrected by the whole of what is measured the estimate stays
unbiased.
"""

import torch
from torch import Tensor

# Intervals of an output's value.
_BINS = 8
# How much of the past stays: of fits, correlations, the measured coefficient, and the noise of what is measured.
_KEEP_FIT, _KEEP_PARTNER, _KEEP_SHARE, _KEEP_NOISE = 0.99, 0.99, 0.95, 0.95
# By how much another partner must move more than the present one.
_CLEARLY = 1.5
# Samples in an interval below which it has the slope of all.
_FEW = 20
# Pairs of an output and a consumer's input that are looked at.
_MOST_PAIRS = 2**22


class LayerCredit:
    """The prediction for one layer of n outputs.

    Attributes:
        partners: ``[n]``, which of the consumers' inputs each output moves; None before anything was measured.
    """

    def __init__(self) -> None:
        self.partners: Tensor | None = None
        self._correlation: Tensor | None = None
        self._sums: dict[str, Tensor] = {}

    def predict(self, bins: Tensor, behind: Tensor) -> Tensor | None:
        """Slopes at outputs in intervals ``[B, n]``, of those at the consumers' inputs, ``[B, k]``; None before the first step."""
        if self.partners is None or self._correlation is None or self._correlation.shape != (bins.shape[1], behind.shape[1]):
            return None
        return _slopes(**self._sums).gather(1, bins.T).T * behind[:, self.partners]

    def learn(self, bins: Tensor, behind: Tensor, directions: Tensor, moved: Tensor, slopes: Tensor) -> None:
        """From one step.

        Args:
            bins, behind: as of ``predict``.
            directions: ``[D, B, n]``, signs.
            moved: ``[D, B, k]``, how the consumers' inputs moved along each of them.
            slopes: ``[B, n]``, estimated without bias.
        """
        if not 0 < bins.shape[1] * behind.shape[1] <= _MOST_PAIRS:
            return
        found = torch.einsum("dbn,dbk->nk", directions, moved) / (directions.shape[0] * directions.shape[1])
        if self._correlation is None or self._correlation.shape != found.shape:
            self._correlation, self.partners = found, None
        else:
            self._correlation.lerp_(found, 1 - _KEEP_PARTNER)
        strength, partners = self._correlation.abs().max(1)
        if self.partners is not None:
            # Noise shall not change a partner.
            own = self._correlation.abs().gather(1, self.partners[:, None])[:, 0]
            partners = torch.where(strength > _CLEARLY * own, partners, self.partners)
        reached, along = behind[:, partners], (directions * moved[..., partners]).mean(0)
        sums = {name: behind.new_zeros(bins.shape[1], _BINS) for name in ("count", "moved", "norm", "product")}
        for name, x in (("count", torch.ones_like(along)), ("moved", along), ("norm", reached * reached), ("product", reached * slopes)):
            sums[name].scatter_add_(1, bins.T, x.T)
        noise = {"moved_noise": moved.square().mean(), "noise": slopes.square().mean()}
        if self.partners is None:
            self._sums = sums | noise
        else:
            # What was found of another partner says nothing of this one.
            kept = _KEEP_FIT * (partners == self.partners)[:, None]
            self._sums = {name: kept * self._sums[name] + x for name, x in sums.items()} | {
                name: self._sums[name].lerp(x, 1 - _KEEP_NOISE) for name, x in noise.items()
            }
        self.partners = partners

    def state(self) -> dict[str, Tensor]:
        named = {"partners": self.partners, "correlation": self._correlation}
        return {name: x for name, x in named.items() if x is not None} | self._sums

    def load(self, state: dict[str, Tensor]) -> None:
        self.partners, self._correlation = state.get("partners"), state.get("correlation")
        self._sums = {name: x for name, x in state.items() if name not in ("partners", "correlation")}


def _slopes(count: Tensor, moved: Tensor, norm: Tensor, product: Tensor, moved_noise: Tensor, noise: Tensor) -> Tensor:
    """``[n, bins]``: how partners move, held back by as much as it may be noise (James and Stein), and corrected by what was measured."""
    hits = count.sum(1)
    own = moved.sum(1) / hits.clamp(min=1)
    own = own * (1 - moved_noise / (hits * own.square()).clamp(min=1e-30)).clamp(min=0)
    each = (moved + _FEW * own[:, None]) / (count + _FEW)
    # As sure of them as if slopes differed from them by half their size.
    pull = (noise / (0.25 * own.square()).clamp(min=1e-30))[:, None]
    return torch.where(own[:, None] == 0, 0, (product + pull * each) / (norm + pull))


def bins_of(outputs: Tensor) -> Tensor:
    """``[B, n]``, in which interval each output lies: two thirds of the layer's spread wide, the outer ones open, 0 between two of them."""
    width = (outputs.square().mean().sqrt() * 2 / 3).clamp(min=1e-30)
    return (outputs / width + _BINS / 2).clamp_(0, _BINS - 1).long()


class Share:
    """How much of the prediction is believed: the measured coefficient of a control variate, from 0 to 1."""

    def __init__(self, like: Tensor):
        self.both = torch.zeros(2, dtype=like.dtype, device=like.device)

    def of(self, measured: Tensor, predicted: Tensor) -> Tensor:
        """For slopes along directions ``[D, B]`` as they were measured and as they were predicted; remembers them."""
        now = torch.stack([(measured * predicted).mean(), (predicted * predicted).mean()])
        share = (self.both[0] / self.both[1].clamp(min=1e-30)).clamp(0, 1)
        self.both = _KEEP_SHARE * self.both + (1 - _KEEP_SHARE) * now
        return share

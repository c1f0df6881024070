r"""Learned credit: what the slopes at a layer's outputs are likely to be, from what earlier steps have measured.

A layer reaches the cost through its consumers: the inputs of later layers, and the module's output. Slopes there are known, or predicted
already: v. Each output of the layer has a partner among these inputs, the one that moves with it (found by correlation over the steps), and

    p[b, j] = s[j, bin(o[b, j])] v[b, partner(j)]

where s, a number for every output and for each of eight intervals of its value, is fitted to what was measured: the slope of whatever lies
between, an activation, say. A prediction that explains nothing is switched off by ``Share``, the coefficient of this control variate, which
is measured too. All of it comes from earlier steps and from the unprobed pass: it knows nothing of the directions that are drawn. Corrected
by the whole of what is measured the estimate stays unbiased.
"""

import torch
from torch import Tensor

# Intervals of an output's value, each as likely as another for a normal distribution.
_BINS = 8
# How much of the past stays, of the fits and of the correlations; and how much the fit is held back.
_KEEP_FIT, _KEEP_PARTNER, _KEEP_SHARE, _RIDGE = 0.98, 0.99, 0.95, 0.1
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
        self._norm: Tensor | None = None
        self._product: Tensor | None = None

    def predict(self, outputs: Tensor, behind: Tensor) -> Tensor | None:
        """Slopes ``[B, n]`` at ``outputs [B, n]``, of those at the consumers' inputs, ``[B, k]``; None before anything was measured."""
        if self.partners is None or self._norm is None or self._product is None or self._correlation is None:
            return None
        if self._correlation.shape != (outputs.shape[1], behind.shape[1]):
            return None
        slope = self._product / (self._norm + _RIDGE * self._norm.mean()).clamp(min=1e-30)
        return slope.gather(1, _bins(outputs).T).T * behind[:, self.partners]

    def learn(self, outputs: Tensor, behind: Tensor, directions: Tensor, moved: Tensor, slopes: Tensor) -> None:
        """From one step.

        Args:
            outputs, behind: as of ``predict``.
            directions: ``[D, B, n]``, signs.
            moved: ``[D, B, k]``, how the consumers' inputs moved along each of them.
            slopes: ``[B, n]``, estimated without bias.
        """
        if outputs.shape[1] * behind.shape[1] > _MOST_PAIRS:
            return
        found = torch.einsum("dbn,dbk->nk", directions, moved) / (directions.shape[0] * directions.shape[1])
        if self._correlation is None or self._correlation.shape != found.shape:
            self._correlation, self.partners = found, None
        else:
            self._correlation.lerp_(found, 1 - _KEEP_PARTNER)
        partners = self._correlation.abs().argmax(1)
        bins = _bins(outputs)
        reached = behind[:, partners]
        norm, product = (torch.zeros(outputs.shape[1], _BINS, dtype=outputs.dtype, device=outputs.device) for _ in range(2))
        norm.scatter_add_(1, bins.T, (reached * reached).T)
        product.scatter_add_(1, bins.T, (reached * slopes).T)
        if self.partners is None or self._norm is None or self._product is None:
            self._norm, self._product = norm, product
        else:
            # What was fitted to another partner says nothing of this one.
            kept = _KEEP_FIT * (partners == self.partners)[:, None]
            self._norm, self._product = kept * self._norm + norm, kept * self._product + product
        self.partners = partners

    def state(self) -> dict[str, Tensor]:
        named = {"partners": self.partners, "correlation": self._correlation, "norm": self._norm, "product": self._product}
        return {name: x for name, x in named.items() if x is not None}

    def load(self, state: dict[str, Tensor]) -> None:
        self.partners, self._correlation = state.get("partners"), state.get("correlation")
        self._norm, self._product = state.get("norm"), state.get("product")


def _bins(outputs: Tensor) -> Tensor:
    """``[B, n]``, in which interval each output lies."""
    edges = torch.special.ndtri(torch.linspace(0, 1, _BINS + 1, dtype=outputs.dtype, device=outputs.device)[1:-1])
    return torch.bucketize(outputs, edges * outputs.std() + outputs.mean())


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

"""A module's buffers: they advance once a step, by the unprobed pass."""

from torch import Tensor, nn


class Buffers:
    """Buffers as they are when this is made, and as the unprobed pass leaves them."""

    def __init__(self, module: nn.Module):
        self._owners = [part for part in module.modules() if part._buffers]
        self._before = self._copied()
        self._after: list[dict[str, tuple[Tensor, Tensor]]] = []

    def _copied(self) -> list[dict[str, tuple[Tensor, Tensor]]]:
        return [{name: (x, x.clone()) for name, x in part._buffers.items() if x is not None} for part in self._owners]

    def keep(self) -> None:
        """The unprobed pass is over."""
        self._after = self._copied()

    def rewind(self) -> None:
        """To where the unprobed pass started."""
        self._put(self._before)

    def advance(self) -> None:
        """To where the unprobed pass ended."""
        self._put(self._after)

    def _put(self, kept: list[dict[str, tuple[Tensor, Tensor]]]) -> None:
        for part, named in zip(self._owners, kept, strict=False):
            for name, (buffer, content) in named.items():
                buffer.copy_(content)
                part._buffers[name] = buffer

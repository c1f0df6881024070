r"""Candidates of an ``nn.Sequential``: whatever a candidate does not change is computed once.

Let the changed parameter belong to stage s. What arrives at s is the same for all candidates and is computed once. From there

    a row of a linear stage      y_j + c (right . x): one number a sample; through elementwise stages to the next linear one,
                                 where ``W[:, j] * (z'_j - z_j)`` is added to what it had computed
    a row of a quantised stage   y_j = round(W_j + c right) . x: one row of weights on the grid, one product; from there the same
    a product, at a linear stage y + c u (v . x): no weights are written out, no matrix is multiplied
    any other stage              the stage itself for each candidate

and the stages behind are called for many candidates at once. Stages that keep state from pass to pass may hand something on beside
their outputs: as soon as one does, candidates are evaluated whole.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from polystep_snn.engine.state.module_state import device_of
from polystep_snn.engine.state.same_start import RandomNumbers, SameStart
from polystep_snn.spaces.weight.any_module import WholeModule
from polystep_snn.spaces.weight.candidates import Batch, Loss, Many, materialise, mean_loss, num_samples, tiles
from polystep_snn.spaces.weight.directions import Part, Products, Rows
from polystep_snn.spaces.weight.stages import is_elementwise, is_linear, is_quantised, rounded, weight_of

# Not a stage's name: those come from an attribute, and may not be empty.
LOSS = ""


class Chain:
    """Evaluates candidates of an ``nn.Sequential``.

    Args:
        module: whose candidates.
        loss: what an output costs.
        memory: bytes that candidates may take at once.

    Attributes:
        keeps: whether a pass has been seen to change more than buffers.
    """

    def __init__(self, module: nn.Sequential, loss: Loss, memory: int):
        self.module = module
        self.loss = loss
        self.memory = memory
        self.whole = WholeModule(module, loss, memory)
        self.keeps = False
        # Modes (training or not) in which stages have been watched, one by one.
        self._watched: set[bool] = set()
        self.behind = {name: Many(f"the stages from {name} on") for name in module._modules} | {LOSS: Many("the loss")}

    def batch(self, inputs: Any, target: Any) -> Batch:
        if not self.keeps:
            start = self.whole.start()
            try:
                with start.first():
                    found = ChainBatch(self, inputs, target, start, watch=self.module.training not in self._watched)
            except _StateError:
                start.undo()
                self.keeps = True
            else:
                self._watched.add(self.module.training)
                found.check(0)
                return found
        return self.whole.batch(inputs, target)

    def slices(self, inputs: Any, target: Any) -> Iterator[tuple[float, Any, Any]]:
        return self.whole.slices(inputs, target)


class _StateError(Exception):
    """A stage has changed more than its output and buffers."""


class ChainBatch:
    """A sequence on one batch; see ``candidates.Batch``."""

    def __init__(self, of: Chain, inputs: Any, target: Any, start: SameStart, watch: bool):
        self._of, self._target, self._start = of, target, start
        self._instead: Batch | None = None
        self._arguments = inputs
        self.rates: list[Tensor] = []
        self._inputs = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
        self._stages = [(name, stage) for name, stage in of.module._modules.items() if stage is not None]
        self._buffers = of.whole.copied_buffers()
        self._samples = num_samples(inputs, target)
        self._nothing = RandomNumbers(device_of(of.module))
        self._numbers: list[RandomNumbers] = []
        self._at = [self._inputs]
        for _, stage in self._stages:
            self._numbers.append(RandomNumbers(device_of(of.module)))
            with self._numbers[-1].first():
                self._at.append(stage(_own(self._at[-1])))
            if watch and self._start.changed():
                raise _StateError
        self.output = self._at[-1]
        self.loss = mean_loss(of.loss(self.output, target), self._samples)

    def costs(self, part: Part, offsets: Tensor) -> Tensor:
        if self._instead is not None:
            return self._instead.costs(part, offsets)
        try:
            found = self._costs(part, offsets)
        finally:
            changed = self._start.end()
        if changed is not None:
            # The unprobed pass changed nothing, but a candidate did.
            self._of.keeps = True
            self._start.undo()
            self._instead = self._of.whole.batch(self._arguments, self._target)
            return self._instead.costs(part, offsets)
        self.check(found.numel())
        return found

    def check(self, count: int) -> None:
        """Look now and then whether the unprobed weights cost the same again."""

        def again() -> Tensor:
            try:
                with self._start.again():
                    return self._through(0, _own(self._inputs), {})
            finally:
                self._start.end()

        if self._of.whole.check.due(count, False):
            self._of.whole.check.compare(self.loss, again)

    def _costs(self, part: Part, offsets: Tensor) -> Tensor:
        name, _, local = part.name.partition(".")
        first = next(k for k, (stage, _) in enumerate(self._stages) if stage == name)
        stage = self._stages[first][1]
        if is_linear(stage) and isinstance(part, Rows) and isinstance(self._at[first], Tensor):
            return self._rows(first, local, part, offsets)
        if type(stage) is nn.Linear and isinstance(part, Products) and isinstance(self._at[first], Tensor):
            return self._products(first, part, offsets)
        return self._stage(first, local, part, offsets)

    def _rows(self, first: int, local: str, part: Rows, offsets: Tensor) -> Tensor:
        """Candidates that move one row of a linear stage, so one of its outputs."""
        x, y = self._at[first], self._at[first + 1]
        row_outputs = self._quantised_rows(first, local, part) if is_quantised(self._stages[first][1]) else _linear_rows(x, y, local, part)
        after = first + 1
        while after < len(self._stages) and is_elementwise(self._stages[after][1]):
            after += 1
        elementwise = [stage for _, stage in self._stages[first + 1 : after]]
        following = self._stages[after][1] if after < len(self._stages) else None
        old = self._at[after].reshape(-1, y.shape[-1])
        linear = following if isinstance(following, nn.Linear) and is_linear(following) else None
        columns_of = None if linear is None else weight_of(linear).T.contiguous()
        base = self._at[after] if linear is None else self._at[after + 1]
        width = base.shape[-1]
        rows, flat = _index(part, offsets), base.reshape(-1, width)
        bytes_each = base.element_size() * (len(flat) * (2 * width + 4) + 4 * x.shape[-1]) + self._bytes_behind()
        found = offsets.new_empty(offsets.shape[:2], dtype=self.loss.dtype)
        for vertices, particles in tiles(offsets, max(1, int(self._of.memory / bytes_each))):
            neuron, coordinate = (i[particles] for i in rows)
            moved = row_outputs(neuron, coordinate, offsets[vertices, particles]).contiguous()
            for stage in elementwise:
                moved = stage(moved)
            changed = moved - old[:, neuron].T.contiguous()
            if columns_of is not None:
                out = flat + changed[..., None] * columns_of[neuron][:, None, :]
            else:
                column = torch.nn.functional.one_hot(neuron, width).to(torch.bool)
                out = torch.where(column[:, None, :], moved[..., None], flat)
            out = out.reshape(-1, *base.shape)
            found[vertices, particles] = self._behind(after + (linear is not None), out).view(found[vertices, particles].shape)
        return found

    def _quantised_rows(self, first: int, local: str, part: Rows) -> "RowOutputs":
        """Outputs of rows whose weights, or biases, are moved before they are rounded."""
        stage, x, y = self._stages[first][1], self._at[first], self._at[first + 1]
        arriving, before = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        latent = stage.get_parameter(local).detach().reshape(y.shape[-1], -1)
        bias = None if stage.bias is None else rounded(stage, stage.get_parameter("bias").detach())

        def outputs(neuron: Tensor, coordinate: Tensor, offsets: Tensor) -> Tensor:
            if part.right is None:
                units = torch.nn.functional.one_hot(coordinate, latent.shape[1]).to(offsets.dtype)
            else:
                units = part.right[coordinate]
            moved = (latent[neuron] + torch.einsum("vkp,kpn->vkn", offsets, units)).to(latent.dtype)
            on_grid = rounded(stage, moved)
            if local == "bias":
                return before[:, neuron].T + (on_grid - rounded(stage, latent[neuron]))
            if bias is None:
                return on_grid @ arriving.T
            return on_grid @ arriving.T + bias[neuron][:, None]

        return outputs

    def _products(self, first: int, part: Products, offsets: Tensor) -> Tensor:
        """Candidates that add matrices of rank one to the weights of a linear stage."""
        x, y = self._at[first], self._at[first + 1]
        dim = offsets.shape[-1]
        left, right = (m.view(-1, dim, m.shape[1]).to(x.dtype) for m in (part.left, part.right))
        width = y.shape[-1]
        before, arriving = y.reshape(-1, width), x.reshape(-1, x.shape[-1])
        bytes_each = y.element_size() * len(before) * 3 * width + self._bytes_behind()
        found = offsets.new_empty(offsets.shape[:2], dtype=self.loss.dtype)
        for vertices, particles in tiles(offsets, max(1, int(self._of.memory / bytes_each))):
            along = torch.einsum("mn,kpn->kmp", arriving, right[particles])
            scaled = offsets[vertices, particles, :, None].to(x.dtype) * left[particles]
            out = (before + torch.matmul(along, scaled)).contiguous()
            found[vertices, particles] = self._behind(first + 1, out.view(-1, *y.shape)).view(found[vertices, particles].shape)
        return found

    def _stage(self, first: int, local: str, part: Part, offsets: Tensor) -> Tensor:
        """Candidates of any stage: itself, and those behind it, for each."""
        parameter = self._of.module.get_parameter(part.name)

        def cost(value: Tensor) -> Tensor:
            return self._through(first, _own(self._at[first]), {local: value})

        bytes_each = parameter.numel() * (offsets.shape[2] / len(offsets) + 2) * 4 + self._bytes_behind()
        found = offsets.new_empty(offsets.shape[:2], dtype=self.loss.dtype)
        for vertices, particles in tiles(offsets, max(1, int(self._of.memory / bytes_each))):
            values = materialise(part, offsets[vertices], particles, parameter)
            found[vertices, particles] = self._many(first, cost, values).view(found[vertices, particles].shape)
        return found

    def _behind(self, first: int, arriving: Tensor) -> Tensor:
        """Costs ``[N]`` when ``arriving: [N, ...]`` arrives at stage ``first``."""
        return self._many(first, lambda x: self._through(first, x, {}), arriving)

    def _many(self, first: int, cost: Callable[[Tensor], Tensor], stacked: Tensor) -> Tensor:
        """Costs ``[N]``, with the random numbers that the stages from ``first`` on had in the unprobed pass."""
        drawing = next((n for n in self._numbers[first:] if n.drew), self._nothing)
        name = self._stages[first][0] if first < len(self._stages) else LOSS
        return self._of.behind[name](cost, drawing, stacked)

    def _through(self, first: int, x: Any, replaced: dict[str, Tensor]) -> Tensor:
        """The cost when ``x`` arrives at stage ``first``, of whose parameters some are replaced."""
        for k, (name, stage) in enumerate(self._stages[first:]):
            own = {n.partition(".")[2]: b.clone() for n, b in self._buffers.items() if n.partition(".")[0] == name}
            own |= replaced if k == 0 else {}
            x = functional_call(stage, own, (x,)) if own else stage(x)
        return mean_loss(self._of.loss(x, self._target), self._samples)

    def _bytes_behind(self) -> int:
        return self._of.whole.bytes_of_pass(self._inputs, self._target)


def _own(x: Any) -> Any:
    """A copy: stages may work in place, and what arrived is needed again."""
    return x.clone() if isinstance(x, Tensor) else x


RowOutputs = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From neurons ``[K]``, their coordinates ``[K, p]`` and offsets ``[V, K, p]`` to the neurons' outputs ``[V, K, M]``."""


def _linear_rows(x: Tensor, y: Tensor, local: str, part: Rows) -> RowOutputs:
    """Outputs of rows whose weights, or biases, are moved: what moves them adds to what they had computed."""
    flat, before = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    # What a unit of each coordinate adds to the row's output, [M, r] for M samples (or positions within samples).
    unit = before.new_ones(len(before), 1) if local == "bias" else flat if part.right is None else flat @ part.right.T.to(x.dtype)

    def outputs(neuron: Tensor, coordinate: Tensor, offsets: Tensor) -> Tensor:
        return before[:, neuron].T + torch.einsum("vkp,mkp->vkm", offsets.to(unit.dtype), unit[:, coordinate])

    return outputs


def _index(part: Rows, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """For every particle its row ``[P]`` and its coordinates within the row ``[P, p]``."""
    index = torch.arange(part.size, device=offsets.device).view(-1, offsets.shape[2])
    return index[:, 0] // part.row, index % part.row

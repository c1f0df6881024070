r"""An LSTM whose gates are linear layers.

``torch.nn.LSTM`` computes inside of one call, where no layer can be probed. This one computes the same::

    i, f, g, o = W_input x[t] + b_input + W_recurrent h[t-1] + b_recurrent
    c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g)
    h[t] = sigmoid(o) tanh(c[t])

Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; the equations are those of ``torch.nn.LSTM``.
"""

import torch
from torch import Tensor, nn

from polystep_snn.errors import InputError

State = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """Long short-term memory, as ``torch.nn.LSTM`` computes it: for layer space, weight space and backpropagation.

    The input's product is made for all steps in one call of a linear layer; the recurrent product is a linear layer that is called in
    every step. No sample depends on another, and ``torch.vmap`` can run it.

    Args:
        input_size: numbers of an input, N.
        hidden_size: numbers of the state, H.
        num_layers: layers, each of which reads the outputs of the one before.
        bias: whether the linear layers have biases.
        batch_first: inputs and outputs are ``[B, T, ...]``; else ``[T, B, ...]``. States are ``[num_layers, B, H]`` either way.

    Attributes:
        input_gates: a linear layer ``[4 H, N]`` a layer (``[4 H, H]`` from the second one on), in torch's order of gates: i, f, g, o.
        recurrent_gates: a linear layer ``[4 H, H]`` a layer.

    Raises:
        InputError: a size below 1.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False):
        super().__init__()
        for name, number in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if number < 1:
                raise InputError(f"{name} is {number}: choose at least 1")
        self.input_size, self.hidden_size, self.num_layers, self.bias, self.batch_first = (
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
        )
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.input_gates = nn.ModuleList(nn.Linear(size, 4 * hidden_size, bias) for size in sizes)
        self.recurrent_gates = nn.ModuleList(nn.Linear(hidden_size, 4 * hidden_size, bias) for _ in sizes)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)

    @classmethod
    def from_torch(cls, lstm: nn.LSTM) -> "LSTM":
        """The same network with copies of the weights; outputs are equal up to rounding.

        Raises:
            InputError: an LSTM in two directions, with projections, or with dropout.
        """
        for name in ("bidirectional", "proj_size", "dropout"):
            if getattr(lstm, name):
                raise InputError(f"the LSTM has {name}={getattr(lstm, name)}, which polystep_snn.LSTM has not: give one without")
        made = cls(lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bias, lstm.batch_first)
        made.to(next(lstm.parameters())).train(lstm.training)
        with torch.no_grad():
            for layers, kind in ((made.input_gates, "ih"), (made.recurrent_gates, "hh")):
                for k, layer in enumerate(layers):
                    for name, parameter in layer.named_parameters():
                        given = getattr(lstm, f"{name}_{kind}_l{k}")
                        parameter.copy_(given).requires_grad_(given.requires_grad)
        return made

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over all steps.

        Args:
            x: ``[T, B, N]``, or ``[B, T, N]`` with ``batch_first``.
            state: ``(h, c)`` before the first step, each ``[num_layers, B, H]``; None for zeros.

        Returns:
            The last layer's h of all steps, ``[T, B, H]`` or ``[B, T, H]``, and ``(h, c)`` after the last step.

        Raises:
            InputError: inputs or a state of another shape; no step.
        """
        time, batch = (1, 0) if self.batch_first else (0, 1)
        if x.ndim != 3 or x.shape[2] != self.input_size or not x.shape[time]:
            order = "[B, T, {}]" if self.batch_first else "[T, B, {}]"
            raise InputError(f"the input is {list(x.shape)}: give {order.format(self.input_size)} with at least one step")
        shape = (self.num_layers, x.shape[batch], self.hidden_size)
        if state is None:
            state = (x.new_zeros(shape), x.new_zeros(shape))
        for name, part in zip("hc", state, strict=True):
            if part.shape != shape:
                raise InputError(f"the state's {name} is {list(part.shape)}: give {list(shape)}, [num_layers, B, H]")
        ends = []
        for of_input, recurrent, h, c in zip(self.input_gates, self.recurrent_gates, *state, strict=True):
            outputs = []
            for given in of_input(x).unbind(time):
                h, c = _step(given + recurrent(h), c)
                outputs.append(h)
            x = torch.stack(outputs, time)
            ends.append((h, c))
        hidden, cells = zip(*ends, strict=True)
        return x, (torch.stack(hidden), torch.stack(cells))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bias={self.bias}, batch_first={self.batch_first}"


def _step(gates: Tensor, c: Tensor) -> State:
    """``(h, c)`` after a step, of gates ``[B, 4 H]`` and the cells ``[B, H]`` before it."""
    i, f, g, o = gates.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c

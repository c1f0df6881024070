"""Modules whose costs depend on what they keep from pass to pass, each in another kind of attribute: shared by the tests of state."""

import functools
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn


class Stateful(nn.Module):
    """Two layers; the hidden one is scaled by a number that ``scale`` takes from the module's state, after changing it."""

    def __init__(self, begin, scale):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.scale = nn.Linear(6, 5), nn.Linear(5, 3), scale
        begin(self)

    def forward(self, x):
        hidden = torch.tanh(self.a(x))
        return self.b(hidden * self.scale(self, hidden))


class Membrane(nn.Module):
    """SpikingJelly's way: a number becomes a tensor with the batch's shape."""

    def __init__(self, v=0.0):
        super().__init__()
        self.v = v

    def forward(self, x):
        self.v = 0.9 * (0.0 if self.v is None else self.v) + x
        spikes = (self.v > 1.0).to(x.dtype)
        self.v = self.v * (1 - spikes)
        return spikes


class OverTime(nn.Module):
    """A network that runs its neurons for three steps, and leaves their membranes as they are."""

    def __init__(self, cell):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.cell, self.b = nn.Linear(6, 5), cell, nn.Linear(5, 3)

    def forward(self, x):
        return sum(self.b(self.cell(self.a(k * x))) for k in (1.0, 0.5, 2.0))


class BufferMembrane(nn.Module):
    """snnTorch's way: a buffer of one number, or of none, that takes the batch's shape."""

    def __init__(self, first):
        super().__init__()
        self.register_buffer("mem", first, persistent=False)

    def forward(self, x):
        self.mem = 0.5 * (0 if self.mem is None else self.mem) + x
        return (self.mem > 0.3).to(x.dtype)


@dataclass
class Trace:
    values: list = field(default_factory=list)
    total: float = 0.0

    def add(self, value):
        self.values.append(value)
        self.total += value
        return self.total


@dataclass(frozen=True)
class Frozen:
    __slots__ = ("values",)
    values: list


class Slotted:
    __slots__ = ("__count", "more")

    def __init__(self):
        self.__count = 1

    def add(self):
        self.__count += 1
        self.more = self.__count
        return self.__count


def _closure():
    count = 1

    def add():
        nonlocal count
        count += 1
        return count

    return add


def _appended(values):
    values.append(len(values) + 1)
    return len(values)


def _put(mapping, key, value):
    mapping[key] = value
    return value


def _tensor_by_data(m, hidden):
    m.kept.data.mul_(1.5)
    return m.kept


def _two_tensors(m, hidden):
    """A view and what it looks at."""
    m.kept.mul_(1.5)
    return m.view


class Outside(nn.Module):
    """A submodule that torch does not know, since it stands in a list."""

    def __init__(self):
        super().__init__()
        self.count = 1

    def forward(self):
        self.count += 1
        return self.count


# What begins as ``kept``, and what a pass makes of it.
KINDS = {
    "number": (lambda: 1.0, lambda m, h: _put(vars(m), "kept", m.kept * 1.5)),
    "tuple": (lambda: (1, 2), lambda m, h: len(_put(vars(m), "kept", (*m.kept, 1)))),
    "new attribute": (lambda: 1, lambda m, h: _put(vars(m), "later", getattr(m, "later", 1) + 1)),
    "deleted attribute": (lambda: 2, lambda m, h: vars(m).pop("kept", 1)),
    "tensor": (lambda: torch.ones(5), lambda m, h: _put(vars(m), "kept", m.kept * 1.5)),
    "tensor in place": (lambda: torch.ones(5), lambda m, h: m.kept.mul_(1.5)),
    "tensor by data": (lambda: torch.ones(5), _tensor_by_data),
    "tensor of the batch": (lambda: None, lambda m, h: _put(vars(m), "kept", h if m.kept is None else m.kept + h)),
    "array": (lambda: np.ones(5, dtype=np.float32), lambda m, h: torch.from_numpy(np.multiply(m.kept, 1.5, out=m.kept).copy())),
    "list": (lambda: [1], lambda m, h: _appended(m.kept)),
    "list of tensors": (lambda: [torch.ones(5)], lambda m, h: m.kept[0].mul_(1.5)),
    "deque": (lambda: deque([1], maxlen=3), lambda m, h: m.kept.append(m.kept[-1] + 1) or m.kept[-1]),
    "dict": (lambda: {"n": 1}, lambda m, h: _put(m.kept, "n", m.kept["n"] + 1)),
    "ordered dict": (lambda: OrderedDict(n=1), lambda m, h: _put(m.kept, "n", m.kept["n"] + 1)),
    "default dict": (lambda: defaultdict(int), lambda m, h: _put(m.kept, "n", m.kept["n"] + 1)),
    "counter": (lambda: Counter("a"), lambda m, h: m.kept.update("a") or m.kept["a"]),
    "set": (lambda: {1}, lambda m, h: m.kept.add(len(m.kept) + 1) or len(m.kept)),
    "bytes": (lambda: bytearray([1]), lambda m, h: _put(m.kept, 0, m.kept[0] + 1)),
    "numbers": (lambda: array("d", [1.0]), lambda m, h: _put(m.kept, 0, m.kept[0] * 1.5)),
    "namespace": (lambda: SimpleNamespace(n=1), lambda m, h: _put(vars(m.kept), "n", m.kept.n + 1)),
    "object": (Trace, lambda m, h: m.kept.add(1.0)),
    "frozen object": (lambda: Frozen([1]), lambda m, h: _appended(m.kept.values)),
    "slots": (Slotted, lambda m, h: m.kept.add()),
    "nested": (lambda: {"a": [({"b": Trace()},)]}, lambda m, h: m.kept["a"][0][0]["b"].add(1.0)),
    "partial": (lambda: functools.partial(_appended, [1]), lambda m, h: m.kept()),
    "keyword of a partial": (lambda: functools.partial(_appended, values=[1]), lambda m, h: m.kept()),
    "closure": (_closure, lambda m, h: m.kept()),
    "method": (lambda: Trace().add, lambda m, h: m.kept(1.0)),
    "method of a list": (lambda: [1].append, lambda m, h: m.kept(1) or len(m.kept.__self__)),
    "module in a list": (lambda: [Outside()], lambda m, h: m.kept[0]()),
}


def _renormed(m, hidden):
    with torch.no_grad():
        m.b.weight.mul_(1.5)
    return 1


def _by_hook(m, args):
    m.calls = getattr(m, "calls", 0) + 1
    return (args[0] * m.calls,)


def hooked():
    module = Stateful(lambda m: None, lambda m, h: 1)
    module.a.register_forward_pre_hook(_by_hook)
    return module


class Keep(nn.Module):
    def __init__(self, bus):
        super().__init__()
        self.bus = bus

    def forward(self, x):
        self.bus.append(x)
        return x


class Add(Keep):
    def forward(self, x):
        return x + self.bus.pop()


def shortcut():
    """A sequence whose first stage hands something to the last, beside its output."""
    torch.manual_seed(0)
    bus = []
    return nn.Sequential(nn.Linear(6, 5), Keep(bus), nn.Linear(5, 5), nn.Tanh(), Add(bus), nn.Linear(5, 3))


class OnlyMoved(nn.Module):
    """Counts the passes in which its layer is not what it was made with: the unprobed pass changes nothing."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.count = layer, 1
        self.start = layer.weight.detach().clone()

    def forward(self, x):
        if not torch.equal(self.layer.weight.detach(), self.start):
            self.count += 1
        return self.layer(x) * self.count


def sequence():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), Membrane(), nn.Linear(5, 3))


def only_moved():
    torch.manual_seed(0)
    return nn.Sequential(OnlyMoved(nn.Linear(6, 5).double()), nn.Tanh(), nn.Linear(5, 3))


def _kept(kind):
    begin, scale = KINDS[kind]
    return Stateful(lambda m: setattr(m, "kept", begin()), scale)


MODULES = {kind: functools.partial(_kept, kind) for kind in KINDS} | {
    "membrane": lambda: OverTime(Membrane()),
    "membrane from None": lambda: OverTime(Membrane(None)),
    "one membrane of a sequence": sequence,
    "buffer that is None": lambda: OverTime(BufferMembrane(None)),
    "buffer of one number": lambda: OverTime(BufferMembrane(torch.zeros(1))),
    "parameter in place": lambda: Stateful(lambda m: None, _renormed),
    "attribute of a layer": hooked,
    "stages that share": shortcut,
    "only moved": only_moved,
}

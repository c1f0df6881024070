"""Every fast way of evaluating candidates against a deep copy of the module for each candidate."""

import logging
import shutil

import pytest
import torch
from torch import nn

from polystep_snn import CrossEntropy, DirectCurrent, LIFParameters, MembraneReadout, Rate, SpikeCountReadout, SpikingNetwork
from polystep_snn.engine.memory import peak_bytes
from polystep_snn.errors import InputError
from polystep_snn.spaces.weight.any_module import WholeModule
from polystep_snn.spaces.weight.choose import evaluator_of
from polystep_snn.spaces.weight.sequential import Chain
from polystep_snn.spaces.weight.space import WeightSpace, place
from polystep_snn.spaces.weight.spiking import AnySpiking, Spiking
from polystep_snn.spaces.weight.stages import is_chain
from polystep_snn.spaces.weight.subspaces import SUBSPACES, AdaptiveLowRank, FactoredSpace, FullSpace, HybridLowRank, SparseProjection
from tests.reference import naive_weights

SPACES = {
    "full": FullSpace(),
    "hybrid": HybridLowRank(4),
    "adaptive": AdaptiveLowRank(4),
    "factored": FactoredSpace(4),
    "sparse": SparseProjection(3),
}


class Staircase(nn.Module):
    elementwise = True

    def forward(self, x):
        return (2 * x).floor() / 2


class OnGrid(nn.Linear):
    """Weights and biases are rounded before they are used."""

    def quantise(self, values):
        return (4 * values).round() / 4

    def forward(self, x):
        return nn.functional.linear(x, self.quantise(self.weight), None if self.bias is None else self.quantise(self.bias))


class Tied(nn.Module):
    """An input and an output layer that share their weights."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(torch.tanh(self.encode(x)))[:, :3]


class HardAttention(nn.Module):
    """Every sample picks one of its three tokens, by argmax."""

    def __init__(self):
        super().__init__()
        self.score, self.out = nn.Linear(2, 1), nn.Linear(2, 3)

    def forward(self, x):
        tokens = x.view(-1, 3, 2)
        chosen = self.score(tokens).argmax(1, keepdim=True).expand(-1, 1, 2)
        return self.out(tokens.gather(1, chosen).squeeze(1))


class Branching(nn.Module):
    """Python decides on values: nothing that vmap could follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.first(x) if self.first.weight.sum().item() > 0 else self.second(x)


def mlp(*middle):
    return nn.Sequential(nn.Linear(6, 5), *middle, nn.Linear(5, 3))


MODULES = {
    "mlp": lambda: mlp(nn.Tanh()),
    "staircase": lambda: mlp(Staircase(), nn.Hardtanh()),
    "in place": lambda: mlp(nn.ReLU(inplace=True)),
    "layer norm": lambda: mlp(nn.LayerNorm(5), nn.GELU()),
    "batch norm": lambda: mlp(nn.BatchNorm1d(5), nn.Tanh()),
    "three layers": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.Sigmoid(), nn.Linear(4, 3)),
    "activation last": lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), nn.Softplus()),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Linear(4, 3)),
    "positions": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2), nn.Flatten(), nn.Linear(6, 3)),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
    "quantised": lambda: nn.Sequential(OnGrid(6, 5), nn.Tanh(), OnGrid(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3)),
    "quantised positions": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), OnGrid(2, 4), nn.Flatten(), OnGrid(12, 3)),
    "tied": Tied,
    "hard attention": HardAttention,
    "branching": Branching,
}
WHOLE = {"tied", "hard attention", "branching"}


def make(name):
    torch.manual_seed(0)
    return MODULES[name]().double().requires_grad_(True)


def batch(samples=7):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(samples, 6, dtype=torch.float64, generator=generator), torch.randint(3, (samples,), generator=generator)


def drawn(module, subspace, name, dim=2, radius=0.5):
    """Directions and offsets of a parameter."""
    parameter = module.get_parameter(name)
    history = torch.randn(parameter.shape, dtype=parameter.dtype, generator=torch.Generator().manual_seed(9))
    part = subspace.draw(name, parameter.detach(), torch.Generator().manual_seed(1), history)
    space = WeightSpace(radius=(radius, 2 * radius), subspace=subspace, particle_dim=dim)
    return part, place(part, space, parameter, 0.0, torch.Generator().manual_seed(2)).offsets


def assert_all_costs_are_naive(module, evaluator, loss, inputs, arguments, target, subspace):
    before = {name: p.clone() for name, p in module.state_dict().items()}
    with torch.no_grad():
        naive = {}
        for name, _ in module.named_parameters():
            naive[name] = naive_weights.costs(module, loss, arguments, target, *drawn(module, subspace, name))
        found = evaluator.batch(inputs, target)
        for name, expected in naive.items():
            costs = found.costs(*drawn(module, subspace, name))
            torch.testing.assert_close(costs.double(), expected, rtol=0, atol=1e-10)
    # Not of every parameter: a bias in front of batch normalisation, or of an argmax, changes nothing.
    assert max(float(expected.max() - expected.min()) for expected in naive.values()) > 1e-9
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name])


def test_every_subspace_is_tested():
    assert SPACES.keys() == SUBSPACES.keys()


@pytest.mark.parametrize("subspace", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("name", [n for n in MODULES if n != "branching"])
def test_modules(name, subspace):
    module, loss = make(name), nn.CrossEntropyLoss()
    x, y = batch()
    evaluator = evaluator_of(module, loss, 2**20)
    assert isinstance(evaluator, WholeModule if name in WHOLE else Chain)
    assert_all_costs_are_naive(module, evaluator, loss, x, (x,), y, subspace)


@pytest.mark.parametrize("memory", [1, 3000, 2**30])
@pytest.mark.parametrize("name", ["mlp", "batch norm", "tied"])
def test_memory_changes_no_cost(name, memory):
    """One candidate at a time, some, or all: the same costs."""
    module, loss = make(name), nn.CrossEntropyLoss(reduction="none")
    x, y = batch()
    evaluator = evaluator_of(module, loss, memory)
    assert_all_costs_are_naive(module, evaluator, loss, x, (x,), y, HybridLowRank(4))


def test_one_at_a_time_where_vmap_does_not_work(caplog):
    module, loss = make("branching"), nn.CrossEntropyLoss()
    with torch.no_grad():
        module.first.weight.mul_(0.01)  # so that candidates take both branches
    x, y = batch()
    with caplog.at_level(logging.INFO, "polystep_snn"):
        evaluator = evaluator_of(module, loss, 2**20)
        part, offsets = drawn(module, FullSpace(), "first.weight")
        with torch.no_grad():
            found = evaluator.batch(x, y)
            costs = found.costs(part, offsets)
            found.costs(part, offsets)
    torch.testing.assert_close(costs, naive_weights.costs(module, loss, (x,), y, part, offsets), rtol=0, atol=1e-12)
    told = [record.message for record in caplog.records if "one at a time" in record.message]
    assert len(told) == 1
    assert "vmap does not work" in told[0]


def test_vmap_is_told_once(caplog):
    module = make("hard attention")
    with caplog.at_level(logging.INFO, "polystep_snn"), torch.no_grad():
        found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(*batch())
        for _ in range(2):
            found.costs(*drawn(module, FullSpace(), "score.weight"))
    assert sum("many at a time" in record.message for record in caplog.records) == 1


def test_a_modules_own_error_is_its_own():
    class Broken(nn.Linear):
        def forward(self, x):
            if self.weight.sum() != self.weight.detach().clone().sum() or not hasattr(self, "good"):
                self.good = True
                return super().forward(x)
            raise ZeroDivisionError("mine")

    module = Broken(6, 3).double()
    with torch.no_grad():
        found = WholeModule(module, nn.CrossEntropyLoss(), 2**20).batch(*batch())
        with pytest.raises(ZeroDivisionError, match="mine"):
            found.costs(*drawn(module, FullSpace(), "weight"))


def test_candidates_share_their_random_numbers():
    """With dropout, equal candidates cost the same, at once as one after the other, and as the unprobed module does."""
    for module in (nn.Sequential(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3)), MyDropout()):
        module = module.double()
        x, y = batch()
        for vectorised in (None, False):
            evaluator = WholeModule(module, nn.CrossEntropyLoss(), 2**20)
            evaluator.many.vectorised = vectorised
            part, offsets = drawn(module, FullSpace(), "2.weight")
            torch.manual_seed(3)
            with torch.no_grad():
                found = evaluator.batch(x, y)
                after = torch.get_rng_state()
                costs = found.costs(part, torch.zeros_like(offsets))
            torch.testing.assert_close(costs, found.loss.expand_as(costs), rtol=0, atol=1e-12)
            assert torch.equal(torch.get_rng_state(), after)
            torch.manual_seed(4)
            with torch.no_grad():
                assert evaluator.batch(x, y).loss != found.loss


class MyDropout(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 20), nn.Dropout(0.5), nn.Linear(20, 3))

    def forward(self, x):
        return super().forward(x)


def test_a_chain_shares_random_numbers_too():
    module = nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, 3)).double()
    x, y = batch()
    torch.manual_seed(3)
    with torch.no_grad():
        found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(x, y)
        for name in ("1.weight", "1.bias", "4.weight"):
            for subspace in SPACES.values():
                part, offsets = drawn(module, subspace, name)
                costs = found.costs(part, torch.zeros_like(offsets))
                torch.testing.assert_close(costs, found.loss.expand_as(costs), rtol=0, atol=1e-12)


def test_what_is_no_chain():
    linear = nn.Linear(3, 3)
    assert is_chain(nn.Sequential(linear, nn.ReLU()))
    assert not is_chain(nn.Sequential(linear, nn.ReLU(), linear))  # one layer twice
    assert not is_chain(MyDropout())  # a forward of its own
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].register_forward_hook(lambda *a: None)
    assert not is_chain(hooked)
    owner = nn.Sequential(nn.Linear(3, 3))
    owner.register_parameter("scale", nn.Parameter(torch.ones(1)))
    assert not is_chain(owner)


def test_buffers_advance_once_by_the_unprobed_pass():
    for module in (make("batch norm"), nn.ModuleDict({"net": make("batch norm")})["net"]):
        x, y = batch()
        expected = nn.BatchNorm1d(5).double()
        with torch.no_grad():
            expected(module[0](x))
            found = evaluator_of(module, nn.CrossEntropyLoss(), 2**20).batch(x, y)
            for name, _ in module.named_parameters():
                found.costs(*drawn(module, HybridLowRank(4), name))
        assert torch.equal(module[1].running_mean, expected.running_mean)
        assert module[1].num_batches_tracked == 1


def test_batches_larger_than_memory(caplog):
    """Costs add up over slices, to those of the whole batch."""
    module, loss = make("hard attention"), nn.CrossEntropyLoss()
    x, y = batch(301)
    needed = WholeModule(module, loss, 2**30).bytes_of_pass(x, y)
    part, offsets = drawn(module, FullSpace(), "out.weight")
    evaluator = WholeModule(module, loss, needed // 4)
    with caplog.at_level(logging.INFO, "polystep_snn"), torch.no_grad():
        slices = list(evaluator.slices(x, y))
        total = sum(share * evaluator.batch(a, b).costs(part, offsets) for share, a, b in slices)
        whole = WholeModule(module, loss, 2**30).batch(x, y).costs(part, offsets)
        list(evaluator.slices(x, y))
    assert 4 <= len(slices) <= 8
    assert torch.equal(torch.cat([a for _, a, _ in slices]), x)
    assert sum(share for share, _, _ in slices) == pytest.approx(1)
    torch.testing.assert_close(total, whole, rtol=0, atol=1e-12)
    assert sum("slices of" in record.message for record in caplog.records) == 1


def test_memory_is_measured():
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x + 1) == 4000
    assert peak_bytes(lambda: (x + 1) + 1) == 8000
    assert peak_bytes(lambda: sum((x + 1).sum() for _ in range(9))) < 4100
    # Views and work in place take nothing.
    assert peak_bytes(lambda: (x + 1).view(10, 100).mul_(2)) == 4000
    assert peak_bytes(lambda: x.view(10, 100)[:, :2] + x[:2].mul_(1)) == 80


SNN = {
    "membrane": ([6, 5, 3], MembraneReadout()),
    "leaky membrane": ([6, 5, 4, 3], MembraneReadout(0.8)),
    "count": ([6, 5, 3], SpikeCountReadout(LIFParameters(v_th=0.3))),
    "residual count": ([6, 5, 4, 3], SpikeCountReadout(LIFParameters(v_th=0.3), residual=0.5)),
    "no hidden layer": ([6, 3], SpikeCountReadout(LIFParameters(v_th=0.3))),
}


def spiking(name, bits=32):
    sizes, readout = SNN[name]
    neuron = LIFParameters(v_th=0.4, tau_syn_inv=200.0 if name == "membrane" else None, reset="subtract" if "count" in name else "zero")
    network = SpikingNetwork(sizes, neuron, readout, torch.Generator().manual_seed(3), weight_bits=bits)
    return network.double()


@pytest.mark.parametrize("subspace", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "spikes"])
@pytest.mark.parametrize("name", SNN)
def test_spiking_networks(name, constant, subspace, monkeypatch):
    monkeypatch.setattr("polystep_snn.spaces.weight.spiking._CACHE", 5000)
    network = spiking(name)
    x, y = batch()
    frames = DirectCurrent(9)(x) if constant else torch.stack(list(Rate(9)(x.abs().clamp(max=1))))
    evaluator = evaluator_of(network, CrossEntropy(), 2**20)
    assert isinstance(evaluator, Spiking)
    arguments = (torch.stack(list(frames)) if constant else frames,)

    def loss(output, target):
        return CrossEntropy()(output[0].T, target)

    assert_all_costs_are_naive(network, evaluator, loss, frames, arguments, y, subspace)


@pytest.mark.compiled
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("name", ["leaky membrane", "residual count"])
def test_compiled_candidates_cost_the_same(name):
    network = spiking(name)
    x, y = batch()
    eager, compiled = (evaluator_of(network, CrossEntropy(), 2**20, compile) for compile in (False, True))
    for subspace in (HybridLowRank(4), FactoredSpace(4)):
        part, offsets = drawn(network, subspace, "linears.0.weight")
        with torch.no_grad():
            expected, costs = (e.batch(DirectCurrent(4)(x), y).costs(part, offsets) for e in (eager, compiled))
        torch.testing.assert_close(costs, expected, rtol=0, atol=1e-10)
    assert compiled.run.compile


@pytest.mark.parametrize("kind", ["constant", "tensor", "frames"])
def test_spiking_slices(kind):
    network = spiking("residual count")
    x, y = batch(20)
    part, offsets = drawn(network, HybridLowRank(4), "linears.0.weight")

    def inputs():
        frames = Rate(9)(x.abs().clamp(max=1))
        return {"constant": DirectCurrent(9)(x), "tensor": torch.stack(list(frames)) if kind == "tensor" else None, "frames": frames}[kind]

    evaluator = Spiking(network, None, 8000)
    with torch.no_grad():
        slices = list(evaluator.slices(inputs(), y))
        total = sum(share * evaluator.batch(a, b).costs(part, offsets) for share, a, b in slices)
        expected = Spiking(network, None, 2**30).batch(inputs(), y).costs(part, offsets)
    assert len(slices) > 2
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-12)


def test_networks_on_the_int8_grid():
    network = spiking("membrane", bits=8)
    x, y = batch()
    evaluator = evaluator_of(network, CrossEntropy(), 2**20)
    assert isinstance(evaluator, AnySpiking)

    def loss(output, target):
        return CrossEntropy()(output[0].T, target)

    frames = torch.stack(list(DirectCurrent(5)(x)))
    part, offsets = drawn(network, HybridLowRank(2), "linears.0.weight")
    with torch.no_grad():
        (share, inputs, target), *none = evaluator.slices(DirectCurrent(5)(x), y)
        costs = evaluator.batch(inputs, target).costs(part, offsets)
    assert share == 1
    assert not none
    torch.testing.assert_close(costs, naive_weights.costs(network, loss, (frames,), y, part, offsets), rtol=0, atol=1e-12)
    assert costs.max() > costs.min()


X, Y = batch()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: evaluator_of(make("mlp"), None, 2**20), "loss is None"),
        (lambda: evaluator_of(make("mlp"), nn.CrossEntropyLoss(), 0), "memory is 0"),
        (lambda: WholeModule(make("mlp"), lambda o, t: o, 2**20).batch(X, Y), r"shape \[7, 3\]: return a scalar, or \[7\]"),
        (lambda: WholeModule(make("mlp"), lambda o, t: o.sum(0), 2**20).batch(X, Y), r"shape \[3\]"),
        (lambda: evaluator_of(make("mlp"), lambda o, t: o.sum(0), 2**20).batch(X, Y), r"shape \[3\]"),
        (lambda: WholeModule(make("mlp"), lambda o, t: "0.3", 2**20).batch(X, Y), "the loss is a str"),
        (lambda: WholeModule(make("mlp"), lambda o, t: torch.tensor(1j), 2**20).batch(X, Y), "complex64"),
        (lambda: list(Spiking(spiking("count"), None, 2**20).slices(X, None)), "Tensor and NoneType"),
        (lambda: list(Spiking(spiking("count"), None, 2**20).slices(torch.zeros(0, 7, 6), Y)), "0 timesteps"),
        (
            lambda: Spiking(spiking("count"), None, 2**20).batch(torch.zeros(4, 6, 6), Y),
            r"\[4, 6, 6\]: give torch.float64 \[T, 7, 6\]",
        ),
    ],
)
def test_bad_input(run, message):
    with pytest.raises(InputError, match=message), torch.no_grad():
        run()

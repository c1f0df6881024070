"""The LSTM of linear layers: torch's numbers, in every space."""

import pytest
import torch
from torch import nn

from polystep_snn import LSTM, InputError, LayerSpace, LayerStep, PolyStep
from tests.modules.evaluated_at_once import assert_evaluated_at_once

LOSS = nn.CrossEntropyLoss(reduction="none")


class Last(nn.Module):
    """Classes of the state after the last step."""

    def __init__(self, hidden=8):
        super().__init__()
        self.lstm, self.head = LSTM(2, hidden, batch_first=True), nn.Linear(hidden, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def first_sign(size, seed=0):
    """Sequences ``[B, 5, 2]``, and whether the first number is positive: it has to be remembered."""
    x = torch.randn(size, 5, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0, 0] > 0).long()


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "a state"])
@pytest.mark.parametrize(("layers", "bias", "batch_first"), [(1, True, False), (1, False, True), (3, True, True)])
def test_it_computes_what_torch_computes(layers, bias, batch_first, given):
    torch.manual_seed(0)
    theirs = nn.LSTM(3, 4, layers, bias, batch_first)
    ours = LSTM.from_torch(theirs)
    x = torch.randn(5, 6, 3)
    state = tuple(torch.randn(layers, 5 if batch_first else 6, 4) for _ in "hc") if given else None
    torch.testing.assert_close(ours(x, state), theirs(x, state), rtol=0, atol=1e-6)


def test_new_weights_are_spread_like_torchs():
    torch.manual_seed(0)
    ours, theirs = LSTM(30, 64, 2), nn.LSTM(30, 64, 2)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    for parameter in ours.parameters():
        assert 0.115 < parameter.abs().max() <= 0.125
    assert {tuple(p.shape) for p in ours.parameters()} == {tuple(p.shape) for p in theirs.parameters()}


def test_a_converted_lstm_keeps_type_mode_and_what_is_frozen():
    theirs = nn.LSTM(3, 4).double().eval()
    theirs.weight_hh_l0.requires_grad_(False)
    ours = LSTM.from_torch(theirs)
    assert ours.recurrent_gates[0].weight.dtype == torch.float64
    assert not ours.training
    assert [name for name, p in ours.named_parameters() if not p.requires_grad] == ["recurrent_gates.0.weight"]
    with torch.no_grad():
        theirs.weight_ih_l0.zero_()
    assert ours.input_gates[0].weight.abs().min() > 0


REFUSED = {
    "no hidden unit": (lambda: LSTM(2, 0), "hidden_size is 0: choose at least 1"),
    "no layer": (lambda: LSTM(2, 3, num_layers=0), "num_layers is 0"),
    "no batch": (lambda: LSTM(2, 3)(torch.zeros(4, 2)), "the input is [4, 2]: give [T, B, 2]"),
    "no step": (
        lambda: LSTM(2, 3, batch_first=True)(torch.zeros(4, 0, 2)),
        "the input is [4, 0, 2]: give [B, T, 2] with at least one step",
    ),
    "another size": (lambda: LSTM(2, 3)(torch.zeros(4, 5, 1)), "the input is [4, 5, 1]"),
    "another state": (lambda: LSTM(2, 3)(torch.zeros(4, 5, 2), (torch.zeros(1, 5, 3), torch.zeros(1, 4, 3))), "the state's c is [1, 4, 3]"),
    "two directions": (lambda: LSTM.from_torch(nn.LSTM(2, 3, bidirectional=True)), "bidirectional=True"),
    "projections": (lambda: LSTM.from_torch(nn.LSTM(2, 3, proj_size=1)), "proj_size=1"),
    "dropout": (lambda: LSTM.from_torch(nn.LSTM(2, 3, 2, dropout=0.5)), "dropout=0.5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_line(name):
    function, message = REFUSED[name]
    with pytest.raises(InputError) as error:
        function()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_samples_keep_apart():
    torch.manual_seed(0)
    network = Last()
    x, _ = first_sign(6)
    torch.testing.assert_close(network(x)[2:3], network(x[2:3]), rtol=0, atol=1e-6)


def test_weight_space_evaluates_many_at_a_time(caplog):
    torch.manual_seed(0)
    network = Last().double()
    x, target = first_sign(16)
    assert_evaluated_at_once(network, "lstm.recurrent_gates.0.weight", x.double(), target, LOSS, caplog)


@pytest.mark.slow
def test_layer_space_learns_to_remember():
    x, target = first_sign(1000)
    reached = []
    for layers in (["head"], None):
        torch.manual_seed(0)
        network = Last()
        step = PolyStep(network, LOSS, LayerSpace(layers=layers, windows=None), seed=0)
        assert isinstance(step, LayerStep)
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
        for k in range(400):
            step.step(*first_sign(64, seed=k + 1))
            optimizer.step()
        reached.append(float((network(x).argmax(1) == target).double().mean()))
    assert list(step.layers) == ["lstm.input_gates.0", "lstm.recurrent_gates.0", "head"]
    # What the random LSTM remembers by itself is less.
    assert reached[0] < reached[1] - 0.05
    assert reached[1] > 0.9


def test_torchs_own_is_refused_with_the_way_out():
    theirs = nn.ModuleDict({"lstm": nn.LSTM(2, 3), "head": nn.Linear(3, 2)})
    with pytest.raises(InputError, match=r"lstm is torch's LSTM, inside of which .* put polystep_snn.LSTM.from_torch"):
        LayerStep(theirs, LOSS)
    assert list(LayerStep(theirs, LOSS, LayerSpace(layers=["head"])).layers) == ["head"]
    theirs["lstm"].requires_grad_(False)
    assert list(LayerStep(theirs, LOSS).layers) == ["head"]

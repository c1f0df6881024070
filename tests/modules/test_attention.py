"""Attention of linear layers: torch's numbers where it is soft, one choice where it is hard, in every space."""

import pytest
import torch
from torch import nn

from polystep_snn import InputError, LayerSpace, LayerStep, MultiheadAttention, PolyStep
from tests.modules.evaluated_at_once import assert_evaluated_at_once

LOSS = nn.CrossEntropyLoss(reduction="none")


def tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def both(**options):
    """Torch's attention, with weights and offsets that are no zeros, and ours with the same."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(6, 2, batch_first=True, **options)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    return theirs, MultiheadAttention.from_torch(theirs)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 4, "vdim": 5}], ids=str)
def test_soft_attention_computes_what_torch_computes(options):
    theirs, ours = both(**options)
    theirs, ours = theirs.double(), ours.double()
    query, key, value = (
        tokens(3, 4, 6).double(),
        tokens(3, 7, options.get("kdim", 6)).double(),
        tokens(3, 7, options.get("vdim", 6)).double(),
    )
    expected, weights = theirs(query, key, value, average_attn_weights=False)
    torch.testing.assert_close(ours(query, key, value), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.weights(query, key), weights, rtol=0, atol=1e-6)


def test_attention_to_itself():
    theirs, ours = both()
    x = tokens(3, 4, 6)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=0, atol=1e-5)


MASKS = {
    "padding": {"key_padding_mask": torch.tensor([[False, False, True]] * 2 + [[False, True, True]])},
    "causal": {"attn_mask": torch.ones(3, 3).triu(1).bool()},
    "added": {"attn_mask": tokens(3, 3, seed=5)},
    "both": {"key_padding_mask": torch.tensor([[False, False, True]] * 3), "attn_mask": torch.ones(3, 3).triu(1).bool()},
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_mean_what_they_mean_in_torch(name):
    theirs, ours = both()
    theirs, ours, x = theirs.double(), ours.double(), tokens(3, 3, 6).double()
    masks = {key: mask if mask.dtype == torch.bool else mask.double() for key, mask in MASKS[name].items()}
    torch.testing.assert_close(ours(x, **masks), theirs(x, x, x, **masks)[0], rtol=0, atol=1e-6)


def test_a_mask_for_every_sample():
    _, ours = both()
    x, mask = tokens(2, 3, 6), torch.zeros(2, 3, 3, dtype=torch.bool)
    mask[1, :, 0] = True
    found = ours(x, attn_mask=mask)
    torch.testing.assert_close(found[:1], ours(x[:1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1:], ours(x[1:], x[1:, 1:]), rtol=0, atol=1e-5)


def test_where_all_keys_are_masked_there_is_no_answer():
    _, ours = both()
    for ours.hard in (False, True):
        found = ours(tokens(2, 3, 6), key_padding_mask=torch.tensor([[True, True, True], [False, True, True]]))
        assert found[0].isnan().all()
        assert not found[1].isnan().any()


def test_hard_attention_takes_the_value_of_the_best_key():
    """Two heads of one number; key 1 has the largest first number, key 2 the largest second one."""
    attention = MultiheadAttention(2, 2, bias=False, hard=True)
    for layer in (attention.queries, attention.keys, attention.values, attention.out):
        nn.init.eye_(layer.weight)
    key = torch.tensor([[[0.0, 1.0], [3.0, 2.0], [2.0, 5.0]]])
    value = torch.tensor([[[10.0, 20.0], [11.0, 21.0], [12.0, 22.0]]])
    query = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [0.0, -1.0]]])
    # Of equal scores the first one.
    expected = torch.tensor([[[11.0, 22.0], [10.0, 22.0], [10.0, 20.0]]])
    torch.testing.assert_close(attention(query, key, value), expected, rtol=0, atol=0)
    assert attention.weights(query, key)[0, :, 0].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_hard_choice_is_the_limit_of_a_soft_one():
    _, ours = both()
    with torch.no_grad():
        ours.queries.weight *= 1000
        ours.queries.bias *= 1000
    x = tokens(5, 4, 6)
    soft = ours(x)
    ours.hard = True
    torch.testing.assert_close(ours(x), soft, rtol=0, atol=1e-4)


REFUSED = {
    "heads": (lambda: MultiheadAttention(6, 4), "embed_dim is 6, which 4 heads do not divide"),
    "no head": (lambda: MultiheadAttention(6, 0), "num_heads is 0: choose at least 1"),
    "no batch": (lambda: MultiheadAttention(6, 2)(tokens(4, 6)), "the query is [4, 6]"),
    "size": (lambda: MultiheadAttention(6, 2, kdim=4)(tokens(2, 4, 6)), "the key is [2, 4, 6]: give [2, length, 4]"),
    "batch": (lambda: MultiheadAttention(6, 2)(tokens(2, 4, 6), tokens(3, 4, 6)), "the key is [3, 4, 6]: give [2, length, 6]"),
    "values": (lambda: MultiheadAttention(6, 2)(tokens(2, 4, 6), None, tokens(2, 5, 6)), "4 keys and 5 values a sample"),
    "mask": (lambda: MultiheadAttention(6, 2)(tokens(2, 4, 6), attn_mask=tokens(3, 4)), "attn_mask is [3, 4]: give [4, 4] or [2, 4, 4]"),
    "padding": (lambda: MultiheadAttention(6, 2)(tokens(2, 4, 6), key_padding_mask=tokens(4)), "key_padding_mask is [4]: give [2, 4]"),
    "dropout": (lambda: MultiheadAttention.from_torch(nn.MultiheadAttention(6, 2, dropout=0.1)), "dropout=0.1"),
    "bias_kv": (lambda: MultiheadAttention.from_torch(nn.MultiheadAttention(6, 2, add_bias_kv=True)), "add_bias_kv=True"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_in_one_line(name):
    function, message = REFUSED[name]
    with pytest.raises(InputError) as error:
        function()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Asked(nn.Module):
    """Classes of what the last token finds among all."""

    def __init__(self, hard):
        super().__init__()
        self.attention, self.head = MultiheadAttention(4, 2, hard=hard), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x[:, -1:], x)[:, 0])


def marked(size, seed=0):
    """Tokens ``[B, 5, 4]``: one of the first four is marked in its third number, and its first number's sign is the class."""
    x = tokens(size, 5, 4, seed=seed)
    x[..., 2:] = 0
    x[torch.arange(size), torch.arange(size) % 4, 2] = 2
    x[:, 4] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    return x, (x[torch.arange(size), torch.arange(size) % 4, 0] > 0).long()


@pytest.mark.parametrize("hard", [False, True])
def test_weight_space_evaluates_many_at_a_time(hard, caplog):
    torch.manual_seed(0)
    network = Asked(hard).double()
    x, target = marked(16)
    assert_evaluated_at_once(network, "attention.keys.weight", x.double(), target, LOSS, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_layer_space_learns_where_to_look(hard):
    torch.manual_seed(0)
    network = Asked(hard)
    step = PolyStep(network, LOSS, LayerSpace(), seed=0)
    assert isinstance(step, LayerStep)
    assert list(step.layers) == ["attention.queries", "attention.keys", "attention.values", "attention.out", "head"]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for k in range(500):
        step.step(*marked(64, seed=k + 1))
        optimizer.step()
    x, target = marked(1000)
    assert (network(x).argmax(1) == target).double().mean() > 0.9


def test_torchs_own_is_refused_with_the_way_out():
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    with pytest.raises(InputError, match=r"self_attn is torch's MultiheadAttention.* put polystep_snn.MultiheadAttention.from_torch"):
        LayerStep(layer, LOSS)
    assert list(LayerStep(layer, LOSS, LayerSpace(layers=["linear*"])).layers) == ["linear1", "linear2"]

"""Layers that can be probed: which modules they are, and what slopes at their outputs mean for weights and inputs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.grad import conv1d_input, conv1d_weight, conv2d_input, conv2d_weight, conv3d_input, conv3d_weight

from polystep_snn.errors import InputError

_OF_WEIGHTS = {nn.Conv1d: conv1d_weight, nn.Conv2d: conv2d_weight, nn.Conv3d: conv3d_weight}
_OF_INPUTS = {nn.Conv1d: conv1d_input, nn.Conv2d: conv2d_input, nn.Conv3d: conv3d_input}
_CONVOLUTIONS = tuple(_OF_WEIGHTS)
_KINDS = (nn.Linear, *_CONVOLUTIONS, nn.Embedding)
# Modules of torch that compute inside of one call, and those of `polystep_snn` that do the same by layers.
_CLOSED = {nn.LSTM: "LSTM", nn.MultiheadAttention: "MultiheadAttention"}


def probed_layers(module: nn.Module, patterns: Sequence[str] | None, parts: Sequence[str] = ()) -> dict[str, nn.Module]:
    """The layers that are probed, by name; those with nothing to train are left out, and those inside of other parts.

    Raises:
        InputError: there is none, or a pattern matches none.
    """
    inside = tuple(f"{part}." for part in parts)
    modules: list[tuple[str, nn.Module]] = [
        (name, layer) for name, layer in module.named_modules() if name not in parts and not name.startswith(inside)
    ]
    found = {name: layer for name, layer in modules if isinstance(layer, _KINDS)}
    trained = any(p.requires_grad for p in module.parameters())
    if patterns is None:
        _refuse_closed(modules, trained)
    else:
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in found):
                names = ", ".join(list(found)[:5]) or "none"
                raise InputError(f"no layer is called {pattern!r}: the linear layers, convolutions and embeddings here are {names}")
        found = {name: layer for name, layer in found.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}
    found = {name: layer for name, layer in found.items() if not trained or any(p.requires_grad for p in layer.parameters(recurse=False))}
    if not found and not parts:
        raise InputError(
            f"{type(module).__name__} has no linear layer, convolution or embedding to train: name its layers, or choose WeightStep, which "
            "trains the parameters of any module"
        )
    odd = next((f"{name} has padding mode {layer.padding_mode!r}" for name, layer in found.items() if _pads_oddly(layer)), None)
    if odd is not None:
        raise InputError(f"{odd}, whose gradient is not known here: choose 'zeros', or leave the layer out of `layers`")
    return found


def _refuse_closed(modules: list[tuple[str, nn.Module]], trained: bool) -> None:
    """Weights that would silently stay as they are."""
    for name, part in modules:
        ours = next((ours for kind, ours in _CLOSED.items() if isinstance(part, kind)), None)
        if ours is not None and (not trained or any(p.requires_grad for p in part.parameters())):
            raise InputError(
                f"{name or 'the module'} is torch's {type(part).__name__}, inside of which no layer can be probed: put "
                f"polystep_snn.{ours}.from_torch(...) in its place, or name in `layers` what else is trained"
            )


def _pads_oddly(layer: nn.Module) -> bool:
    return isinstance(layer, _CONVOLUTIONS) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str))


def gradients(layer: nn.Module, given: Tensor, slopes: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """What slopes of the mean cost at a layer's outputs mean for its parameters.

    Args:
        given: the layer's input.
        slopes: in the shape of its output.
    """
    found: list[tuple[nn.Parameter, Tensor]] = []
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, nn.Parameter)
    if isinstance(layer, nn.Linear):
        flat = slopes.flatten(0, -2)
        found.append((weight, flat.T @ given.flatten(0, -2).to(flat.dtype)))
        if bias is not None:
            found.append((bias, flat.sum(0)))
    elif isinstance(layer, nn.Embedding):
        total = torch.zeros_like(weight).index_add_(0, given.flatten(), slopes.reshape(-1, slopes.shape[-1]))
        if layer.padding_idx is not None:
            total[layer.padding_idx] = 0
        found.append((weight, total))
    else:
        kind = next(k for k in _CONVOLUTIONS if isinstance(layer, k))
        assert isinstance(layer, _CONVOLUTIONS)
        geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        found.append((weight, _OF_WEIGHTS[kind](given, weight.shape, slopes, *geometry)))
        if bias is not None:
            found.append((bias, slopes.transpose(0, 1).flatten(1).sum(1)))
    return found


def at_inputs(layer: nn.Module, given: Tensor, slopes: Tensor) -> Tensor:
    """Slopes at the input of a linear layer or a convolution, of those at its output."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    if isinstance(layer, nn.Linear):
        return slopes @ weight
    kind = next(k for k in _CONVOLUTIONS if isinstance(layer, k))
    assert isinstance(layer, _CONVOLUTIONS)
    return _OF_INPUTS[kind](given.shape, weight, slopes, layer.stride, layer.padding, layer.dilation, layer.groups)

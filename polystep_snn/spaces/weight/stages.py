"""What is known of the stages of an ``nn.Sequential``: whether they are linear, treat every number alike, or round their weights."""

from torch import Tensor, nn

# Stages that treat every number alike; a subclass may do something else, so the exact type counts.
_NAMES = (
    "Identity ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Sigmoid LogSigmoid Tanh Softplus Softsign Hardtanh Hardsigmoid "
    "Hardswish Hardshrink Softshrink Tanhshrink Threshold"
)
_ELEMENTWISE = frozenset(getattr(nn, name) for name in _NAMES.split())


def is_chain(module: nn.Module) -> bool:
    """Whether a module is a plain sequence of stages of which no two share a parameter."""
    if type(module).forward is not nn.Sequential.forward or any(_has_hooks(m) for m in module.modules()):
        return False
    owners: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        stage = name.split(".")[0]
        if owners.setdefault(id(parameter), stage) != stage:
            return False
    return all("." in name for name, _ in (*module.named_parameters(), *module.named_buffers()))


def is_elementwise(module: nn.Module) -> bool:
    """Whether a stage treats every number alike: one of torch's activations, or a module with a true attribute ``elementwise``."""
    return type(module) in _ELEMENTWISE or bool(getattr(module, "elementwise", False))


def is_linear(module: nn.Module) -> bool:
    """Whether a stage is linear in its input: ``nn.Linear``, or a subclass that rounds, see ``is_quantised``."""
    return type(module) is nn.Linear or is_quantised(module)


def is_quantised(module: nn.Module) -> bool:
    """Whether a stage is ``linear(x, quantise(weight), quantise(bias))``: an ``nn.Linear`` with a method ``quantise`` that treats every
    number alike, so that a changed weight moves no other."""
    return isinstance(module, nn.Linear) and callable(getattr(module, "quantise", None))


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def weight_of(stage: nn.Linear) -> Tensor:
    """The weights that a linear stage computes with."""
    weight = stage.weight.detach()
    return rounded(stage, weight) if is_quantised(stage) else weight


def rounded(stage: nn.Module, values: Tensor) -> Tensor:
    """What a quantised stage makes of weights or biases."""
    return stage.quantise(values)  # type: ignore[operator]

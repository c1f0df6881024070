"""What displacements of neurons mean for the weights and biases of their layer."""

from torch import Tensor
from torch.nn.grad import conv2d_weight

from polystep_snn.engine.products import outer
from polystep_snn.snn.wiring import Wiring


def pulled_back(wiring: Wiring, displacement: Tensor, bias: Tensor, activity: Tensor, neurons: Tensor | None) -> list[Tensor]:
    """What displacements of neurons mean for a layer's weights and biases.

    Args:
        displacement: ``[K, R]`` of the probed neurons, for R samples (and time windows).
        bias: ``[K]``, their sums as biases see them.
        activity: ``[R, M]``, what the weights saw.
        neurons: ``[K]``; None for all.
    """
    if wiring.convolution is None:
        weight = outer(displacement, activity)
        return [placed(weight, neurons, wiring.num_neurons), placed(bias, neurons, wiring.num_neurons)]
    geometry = wiring.convolution
    maps = placed(displacement, neurons, wiring.num_neurons).T.reshape(-1, *geometry.output_shape)
    weight = conv2d_weight(activity.reshape(-1, *geometry.input_shape), geometry.weight_shape, maps, geometry.stride, geometry.padding)
    return [weight, placed(bias, neurons, wiring.num_neurons).view(geometry.channels, -1).sum(1)]


def placed(x: Tensor, neurons: Tensor | None, num_neurons: int) -> Tensor:
    """Rows of the probed neurons among zeros for all others."""
    return x if neurons is None else x.new_zeros(num_neurons, *x.shape[1:]).index_copy(0, neurons, x)

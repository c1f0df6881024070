"""Where transport weights put a particle: between the vertices that were probed."""

from torch import Tensor

from polystep_snn.polystep.transport import Transport


def barycenter(transport: Transport, cost: Tensor, eps: Tensor, points: Tensor) -> Tensor:
    """Where the transport weights of costs ``[V, K, B]`` put each particle between points ``[V, M]``: ``[M, K, B]``."""
    return (transport(cost, eps)[:, None] * points[:, :, None, None]).sum(0)

"""Several processes that train one network, each on its share of every batch.

Started by ``torchrun``, they find each other through its environment. Every process encodes the whole batch, so that all random
generators stay in step and one checkpoint serves all; then it keeps its rows. Gradients are averaged, so weights stay the same
everywhere, to the bit.
"""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from polystep_snn.errors import InputError
from polystep_snn.snn.frames import Frames


@dataclass(frozen=True)
class Workers:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0; only 0 writes files and speaks.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Workers":
        """Join the job that ``torchrun`` started; alone if there is none."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            # Left to the end of the process, its threads may still run when they are taken down.
            atexit.register(dist.destroy_process_group)
        return cls(dist.get_rank(), size)

    def check(self, batch_size: int) -> None:
        """InputError unless batches can be shared evenly: the mean of the shares is then the mean of the batch."""
        if batch_size % self.size:
            raise InputError(
                f"batch_size is {batch_size}, which {self.size} processes cannot share evenly: choose a multiple of {self.size}"
            )

    def share(self, frames: Frames, labels: Tensor) -> tuple[Frames, Tensor]:
        """This process's rows of an encoded batch."""
        if self.size == 1:
            return frames, labels
        count = len(labels) // self.size
        rows = slice(self.rank * count, (self.rank + 1) * count)
        return frames.samples(rows), labels[rows]

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over all processes.

        Raises:
            InputError: another process is gone.
        """
        if self.size == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([t.flatten() for t in tensors])
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"another process of this job is gone ({reason}): go on from the last checkpoint with --resume") from None
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

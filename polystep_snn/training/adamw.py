"""torch's AdamW, the same numbers, without loading torch's compiler, which takes two seconds and is not needed for it."""

from collections.abc import Callable
from typing import Any

import torch


def _plain(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of torch's optimizers as it was before torch guarded it against its compiler: the guard loads the compiler."""
    return getattr(method, "__wrapped__", method)


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW(..., fused=True)`` for one group of parameters.

    Its state is torch's: either one loads the other's.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)

    def __init__(self, parameters: Any, lr: float, weight_decay: float):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # torch's own evaluates a loss again; nothing here does
        """Move the parameters against their gradients."""
        (group,) = self.param_groups
        parameters = [p for p in group["params"] if p.grad is not None]
        for p in parameters:
            if not self.state[p]:
                step = torch.zeros((), dtype=torch.float32, device=p.device)
                self.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        states = [self.state[p] for p in parameters]
        steps = [state["step"] for state in states]
        if not parameters:
            return
        if parameters[0].device.type == "cpu":
            # A loop over a few numbers is faster than torch's over all of them.
            for step in steps:
                step += 1
        else:
            torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    # torch wraps a step in its profiler unless it finds that this was done.
    step.hooked = True  # type: ignore[attr-defined]

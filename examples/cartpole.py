"""Balance a pole with a policy whose weights are signs, by asking and telling.

    pip install gymnasium
    python examples/cartpole.py

Weights of +1 and -1, no biases: the return is a step function of the latent values that are searched. The search ends when fifty episodes
of its own are perfect; a hundred fresh ones follow. ``benchmarks/policies.py`` compares methods, and swings up the acrobot.
"""

import sys

import numpy as np
import torch

from polystep_snn import PolyStepES

try:
    import gymnasium
except ImportError:
    sys.exit("this example needs gymnasium, which is not installed: pip install gymnasium")

HIDDEN = 8
SCALE = np.array([2.4, 2.0, 0.21, 2.0])  # of position, velocity, angle, angular velocity


def play(latent: np.ndarray, episodes: int, seed: int) -> np.ndarray:
    """Returns ``[C, episodes]`` of C policies with latent weights ``[C, 6 * HIDDEN]``."""
    signs = np.where(latent > 0, 1.0, -1.0)
    first, second = signs[:, : 4 * HIDDEN].reshape(-1, 4, HIDDEN), signs[:, 4 * HIDDEN :].reshape(-1, HIDDEN, 2)
    environments = gymnasium.make_vec("CartPole-v1", num_envs=len(latent) * episodes, vectorization_mode="vector_entry_point")
    observations, _ = environments.reset(seed=seed)
    total, running = np.zeros(len(observations)), np.ones(len(observations), bool)
    while running.any():
        scaled = observations.reshape(len(latent), episodes, 4) / SCALE
        actions = (np.tanh(scaled @ first) @ second).argmax(2)
        observations, rewards, terminated, truncated, _ = environments.step(actions.ravel())
        total += rewards * running
        running &= ~(terminated | truncated)
    return total.reshape(len(latent), episodes)


def train(seed: int = 0, generations: int = 100) -> np.ndarray:
    """Latent weights that play fifty episodes without a fall, or the best of the search."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = PolyStepES(0.5 * torch.randn(6 * HIDDEN, generator=generator, dtype=torch.float64), radius=2.0, seed=seed)
    best, longest = optimizer.mean.numpy(), 0.0
    for generation in range(generations):
        candidates = optimizer.ask().numpy()
        optimizer.tell(-torch.from_numpy(play(candidates, episodes=4, seed=generation).mean(1)))
        mean = optimizer.mean.numpy().copy()
        steps = play(mean[None], episodes=50, seed=1_000_000 + generation).mean()
        print(f"generation {generation + 1}, {optimizer.popsize} candidates: {steps:.1f} steps")
        if steps > longest:
            best, longest = mean, steps
        if steps == 500:
            break
    return best


if __name__ == "__main__":
    tested = play(train()[None], episodes=100, seed=2_000_000)
    print(f"{tested.mean():.1f} of 500 steps on average of 100 fresh episodes, {tested.min():.0f} at worst, with weights of +1 and -1")

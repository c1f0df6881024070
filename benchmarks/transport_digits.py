"""Digits from noise, a label at a time: does a map that knows labels send noise to the digit that it is asked for?

scikit-learn's 8 x 8 digits in their first 16 principal components; 1,200 to learn from, 597 held out. Source: standard Gaussian noise, the
same for every label. A map's digits are judged by a nearest-neighbours classifier that has seen held-out digits alone, and by the energy
distance between what it makes of a label and the held-out digits of that label (squared; Székely and Rizzo 2013), in units of the digits'
own spread.
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from polystep_snn.transport_maps import GaussianMap, PotentialMap

COMPONENTS, TRAINED, VALIDATED = 16, 1200, 300
# Of few samples a network learns by heart what it sees more than some dozens of times. Chosen on held-out samples of the training part.
SETTINGS = {"num_labels": 10, "steps": 1000, "batch_size": 512, "learning_rate": 0.03}
MADE = 2_000


def load(seed: int, validate: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Digits to learn from and held out, with labels, at a mean variance of 1; for validation both are from the training part."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).numpy()
    first, last = (TRAINED - VALIDATED, TRAINED) if validate else (TRAINED, len(images))
    learnt, held = order[:first], order[first:last]
    pca = PCA(COMPONENTS, random_state=0).fit(images[learnt])
    points = [torch.from_numpy(pca.transform(images[part])) for part in (learnt, held)]
    spread = points[0].var(0).mean().sqrt()
    return (
        (points[0] / spread).float(),
        torch.from_numpy(labels[learnt]).long(),
        (points[1] / spread).float(),
        torch.from_numpy(labels[held]).long(),
    )


def energy_distance(a: Tensor, b: Tensor) -> float:
    """``2 E|A - B| - E|A - A'| - E|B - B'|`` over different samples."""

    def within(c: Tensor) -> float:
        return float(torch.cdist(c, c).sum() / (len(c) * (len(c) - 1)))

    return float(2 * torch.cdist(a, b).mean()) - within(a) - within(b)


def measure(seed: int, validate: bool = False, **changed: Any) -> dict[str, dict[str, float]]:
    """Accuracy in percent and mean energy distance over labels, for each map.

    Args:
        seed: of the split, the noise and the training.
        validate: whether samples of the training part are held out in place of the last ones.
        **changed: settings of ``PotentialMap``.
    """
    learnt, labels, held, held_labels = load(seed, validate)
    generator = torch.Generator().manual_seed(1000 + seed)
    noise_labels = torch.arange(20_000) % 10
    noise = torch.randn(len(noise_labels), COMPONENTS, generator=generator)
    asked = torch.arange(MADE) % 10
    fresh = torch.randn(MADE, COMPONENTS, generator=generator)

    potential = PotentialMap(seed=seed, **(SETTINGS | changed)).fit(noise, learnt, noise_labels, labels)
    linear = [GaussianMap().fit(noise, learnt[labels == c]) for c in range(10)]
    made = {
        "linear, without labels": GaussianMap().fit(noise, learnt).map(fresh),
        "linear a label": torch.cat([linear[c].map(fresh[k : k + 1]) for k, c in enumerate(asked.tolist())]),
        "potential": potential.map(fresh, asked),
        "digits that were learnt from": learnt,
    }
    judge = KNeighborsClassifier(5).fit(held.numpy(), held_labels.numpy())
    found = {}
    for name, points in made.items():
        wanted = labels if points is learnt else asked
        distances = [energy_distance(points[wanted == c], held[held_labels == c]) for c in range(10)]
        accuracy = 100 * float(judge.score(points.numpy(), wanted.numpy()))
        found[name] = {"accuracy": round(accuracy, 2), "energy_distance": round(sum(distances) / 10, 4)}
    back = potential.inverse(potential.map(fresh, asked), asked)
    found["potential"]["round_trip_error"] = float((back - fresh).square().mean().sqrt())
    found["potential"]["gap"] = round(potential.evaluate(fresh, held, asked, held_labels).gap, 4)
    return found

"""What learning on the chip is measured against: the best readout that can be fitted to the same hidden spikes elsewhere."""

import numpy as np

from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.simulator import Simulator

_CHUNK = 500
_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)


def hidden_counts(network: IntegerNetwork, spikes, num_samples: int) -> np.ndarray:
    """How often the last hidden layer's neurons fire, ``[n, N]``; ``spikes`` gives those of samples by number."""
    simulator, counts = Simulator(network), [np.empty((0, network.sizes[-2]), np.int32)]
    for start in range(0, num_samples, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, num_samples))
        counts.append(simulator.record(spikes(numbers)).layers[-2].z.sum(0, dtype=np.int32))
    return np.concatenate(counts)


def accuracy(network: IntegerNetwork, spikes, labels: np.ndarray) -> float:
    """Fraction of right decisions of a network, in the simulator."""
    simulator, right = Simulator(network), 0
    for start in range(0, len(labels), 2 * _CHUNK):
        numbers = np.arange(start, min(start + 2 * _CHUNK, len(labels)))
        right += int((simulator.run(spikes(numbers)).argmax(1) == labels[numbers]).sum())
    return right / len(labels)


def fitted_readout(
    learned: tuple[np.ndarray, np.ndarray], chosen_by: tuple[np.ndarray, np.ndarray], tested: tuple[np.ndarray, np.ndarray], num_steps: int
) -> float:
    """Test accuracy of a multinomial logistic regression in floating point, on firing rates.

    Args:
        learned: spike counts ``[n, N]`` and labels it is fitted to.
        chosen_by: the same, of the samples that choose how strongly it is regularised; where there are none, C is 1.
        tested: the same, of the test set.
    """
    from sklearn.linear_model import LogisticRegression

    (x, y), (x_choice, y_choice), (x_test, y_test) = learned, chosen_by, tested
    if len(np.unique(y)) == 1:
        return float((y_test == y[0]).mean())  # of one class nothing else can be learned
    strengths = _STRENGTHS if len(y_choice) else (1.0,)
    fits = [LogisticRegression(C=c, max_iter=500).fit(x / num_steps, y) for c in strengths]
    best = max(fits, key=lambda fit: fit.score(x_choice / num_steps, y_choice)) if len(fits) > 1 else fits[0]
    return float(best.score(x_test / num_steps, y_test))

"""Options of a run reach what they configure."""

import json

import numpy as np
import pytest

from polystep_snn import CrossEntropy, LIFParameters, Sinkhorn, SmoothedCrossEntropy, WeightSpace
from polystep_snn.polystep.relative import Relative
from polystep_snn.spaces.weight.step import WeightStep
from polystep_snn.spaces.weight.subspaces import HybridLowRank
from polystep_snn.training.build import build_bptt, build_polystep
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer
from polystep_snn.training.recipes import recipe
from polystep_snn.training.trainer import Trainer
from tests.training.small_runs import WEIGHT_SPACE, StopAt, small_config


def test_options_reach_the_method(digits, tmp_path):
    config = small_config(
        windows=3,
        polytope="simplex",
        transport="sinkhorn",
        eps=0.3,
        radius=0.7,
        probed=5,
        credit="chained",
        readout="count",
        beta=0.8,
        reset="subtract",
        v_th=0.5,
    )
    run = Trainer(config, tmp_path / "run", digits)
    space = run.method.space
    assert (space.num_windows, space.polytope, space.radius, space.num_probed, space.credit) == (3, "simplex", 0.7, 5, "chained")
    assert run.method.transport == Sinkhorn(eps=0.3)
    assert [run.method.residual(f) for f in (0.0, 0.45, 0.9, 1.0)] == [0.5, 0.25, 0.0, 0.0]
    assert run.network.neurons == [LIFParameters.from_beta(0.8, reset="subtract", v_th=0.5)]
    assert run.network.readout.neuron == LIFParameters.from_beta(0.8, reset="subtract")
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.5


def test_smoothed_labels_are_learned_and_scores_are_of_plain_ones(digits, tmp_path):
    plain = Trainer(small_config(), tmp_path / "plain", digits).cost
    for k, (options, make_method) in enumerate((({}, build_polystep), (WEIGHT_SPACE, build_polystep), ({"probed": 0}, build_bptt))):
        run = Trainer(small_config(label_smoothing=0.2, **options), tmp_path / f"run{k}", digits, make_method=make_method)
        cost = run.method._evaluator.cost if isinstance(run.method, WeightStep) else run.method.cost
        assert cost == SmoothedCrossEntropy(plain.scale, 0.2)
        assert run.cost == plain == CrossEntropy(plain.scale)


def test_options_reach_weight_space(digits, tmp_path):
    options = {"polytope": "cube", "transport": "sinkhorn", "eps": 0.7, "radius": 0.3, "seed": 5, "epochs": 1}
    run = Trainer(small_config(**{**WEIGHT_SPACE, **options}), tmp_path / "run", digits)
    assert run.method.space == WeightSpace(0.3, HybridLowRank(4), particle_dim=4, polytope="cube")
    assert (run.method.transport, run.method.seed) == (Relative(Sinkhorn(eps=0.7)), 5)
    run.fit()


def test_candidates_are_counted(digits, tmp_path):
    """A simplex of four coordinates has five vertices; a bias is a coordinate alone, with two."""
    observer = StopAt(20)
    run = observer.trainer = Trainer(small_config(**WEIGHT_SPACE), tmp_path / "run", digits, observer=observer)
    assert run.fit() is None
    Trainer(small_config(**WEIGHT_SPACE), tmp_path / "run", digits, resume=True).fit()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    candidates = 24 * 5 + 24 * 2 + 10 * 5 + 10 * 2
    assert [line["forward_passes"] for line in lines] == [13 * candidates, 26 * candidates]


@pytest.mark.parametrize("changes", [{"readout": "count"}, {"weight_bits": 8, "hidden": 6}], ids=str)
def test_layers_whose_spikes_nobody_told_are_not_called_dead(digits, tmp_path, changes):
    class Listening(Observer):
        def warn(self, message):
            raise AssertionError(message)

    run = Trainer(small_config(**{**WEIGHT_SPACE, **changes, "rank": 2, "epochs": 1}), tmp_path / "run", digits, observer=Listening())
    run.fit()
    told = 1 if "readout" in changes else 0
    assert [len(run.position.history[0][name]) for name in ("firing_rates", "dead_neurons", "saturated_neurons")] == [told] * 3


@pytest.mark.slow
def test_digits_are_learned_in_weight_space(digits, tmp_path):
    config = TrainConfig("digits", space="weight", compile=False, threads=1, **recipe("digits", space="weight"))
    assert Trainer(config, tmp_path / "run", digits).fit()["test_accuracy"] > 0.9


def test_the_learning_rate_and_the_schedules_run_to_their_end(digits, tmp_path, monkeypatch):
    run = Trainer(small_config(lr=0.01), tmp_path / "run", digits)
    seen = []
    step = run.method.step

    def watched(inputs, target, progress):
        seen.append((progress, run.optimizer.param_groups[0]["lr"]))
        return step(inputs, target, progress)

    monkeypatch.setattr(run.method, "step", watched)
    run.fit()
    for k, (progress, lr) in enumerate(seen):
        assert progress == pytest.approx(k / 26)
        assert lr == pytest.approx(0.01 * 0.5 * (1 + np.cos(np.pi * k / 26)))
    assert len(seen) == 26

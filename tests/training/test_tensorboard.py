"""A run's metrics in TensorBoard's files."""

import importlib.util
import json

import pytest

from polystep_snn.cli.main import main


def test_epochs_are_written_as_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    assert main(f"train digits --hidden 8 --num-steps 4 --epochs 2 --no-compile --tensorboard --out {run}".split()) == 0
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("train_loss", "val_accuracy", "forward_passes"):
        found = [(e.step, e.value) for e in events.Scalars(name)]
        assert found == [(m["epoch"], pytest.approx(m[name], rel=1e-6)) for m in history]
    assert [e.value for e in events.Scalars("firing_rates/layer_0")] == pytest.approx([m["firing_rates"][0] for m in history])


def test_what_is_missing_is_said_before_data_is_read(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "tensorboard" else find(name))
    assert main(f"train mnist --tensorboard --data-dir {tmp_path} --out {tmp_path / 'run'}".split()) == 2
    assert capsys.readouterr().err.strip().endswith("tensorboard is not installed: pip install tensorboard, or leave --tensorboard out")
    assert not (tmp_path / "run").exists()

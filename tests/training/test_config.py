"""Options of a run: flat on the way in and out, in groups inside, checked where they are made."""

import json

import pytest

import polystep_snn
from polystep_snn import InputError, TrainConfig
from polystep_snn.cli.main import main, make_parser
from polystep_snn.training.config import GROUPS, OPTIONS, options_of


def test_flat_options_go_to_their_groups():
    config = TrainConfig("mnist", hidden=(64, "16c5"), num_steps=7, radius=2, lr=1e-2, seed=5)
    assert (config.data.dataset, config.data.num_steps) == ("mnist", 7)
    assert config.network.hidden == (64, "16c5")
    assert config.method.radius == 2.0
    assert isinstance(config.method.radius, float)
    assert (config.optimizer.lr, config.run.seed) == (1e-2, 5)
    assert config.replace(seed=6, hidden=8) == TrainConfig("mnist", hidden=(8,), num_steps=7, radius=2, lr=1e-2, seed=6)


def test_json_and_back():
    config = TrainConfig("nmnist", encoder="events", crop=(2, 2, 30, 30), hidden=("16c5", "p2", 10), probed=(0, 3))
    value = json.loads(json.dumps(config.to_json()))
    assert TrainConfig.from_json(value) == config
    assert value.pop("version") == polystep_snn.__version__
    assert set(value) == {"dataset", *OPTIONS}


def test_a_configuration_without_a_version_is_one_of_0_1_0():
    assert TrainConfig.from_json({"dataset": "digits", "epochs": 3, "hidden": [16]}) == TrainConfig("digits", epochs=3, hidden=16)


def test_options_of_another_version_name_it():
    with pytest.raises(InputError, match=r"has \['gravity'\]: it was written by version 9.1, this is .*; use that one"):
        TrainConfig.from_json({"version": "9.1", "dataset": "digits", "gravity": 1})
    with pytest.raises(InputError, match=r"no dataset: it was written by version 0\.1\.0"):
        TrainConfig.from_json({"epochs": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hiden": 8}, "there is no option 'hiden': did you mean 'hidden'?"),
        ({"xyz": 8}, "there is no option 'xyz': see polystep-snn train --help"),
        ({"epochs": 0}, "epochs is 0: choose a number from 1 to 16777216"),
        ({"epochs": True}, "epochs is True: give a value of type int"),
        ({"epochs": 1.5}, "epochs is 1.5: give a value of type int"),
        ({"lr": float("nan")}, "lr is nan: choose a positive number, from 1e-30 to 1e+30"),
        ({"lr": 10**400}, "lr is a number of 1329 bits: choose a smaller one"),
        ({"validation_share": 1.0}, "validation_share is 1.0: choose a number between 0 and 1"),
        ({"validation_share": 0.05}, "validation_share is 0.05, but mnist has parts of its own: leave it out"),
        ({"beta": 1.5}, "beta is 1.5: choose a fraction from 0 to 1"),
        ({"averaging": 1.0}, "averaging is 1.0: choose a fraction from 0 to below 1"),
        ({"weight_bits": 16}, "weight_bits is 16: choose 8 or 32"),
        ({"seed": -1}, "seed is -1: choose a number from 0 to 9223372036854775807"),
        ({"v_th": -1}, "v_th is -1.0: choose a positive number, from 1e-30 to 1e+30, or 0 to have it chosen"),
        ({"credit": "free"}, "credit is 'free': choose one of auto, exact, chained"),
        ({"hidden": "12x3"}, "hidden is '12x3': give a value of type tuple"),
        ({"hidden": ("12x3",)}, "hidden layer '12x3': give a width, 128r for recurrent neurons, 128d16 for delays up to"),
        ({"hidden": ("12d99",)}, "hidden layer '12d99' holds spikes back for up to 99 steps, but there are 15: choose shorter delays"),
        ({"hidden": ("0r",)}, "hidden is ['0r']: give at least one width, each from 1 to 16777216"),
        ({"space": "weight", "recurrent_credit": False}, "recurrent_credit is False, but the space 'weight' has no such option"),
        ({"credit": "x" * 5000}, "credit is 'xxxxxxxxxxxx...xxxxxxxxxxxxx': choose one of"),
        ({"hidden": ()}, "hidden is []: give at least one width, each from 1 to 16777216"),
        ({"hidden": ("9" * 5000,)}, "give a width, 128r for recurrent neurons"),
        ({"probed": (1, 2)}, "probed is [1, 2]: give one number for all 1 hidden layers or one a layer, 0 to 16777216"),
        ({"windows": 16}, "windows is 16, but there are 15 timesteps: choose at most as many"),
        ({"drop": 0.2}, "drop is 0.2, but the encoder 'direct' is for images, which have no events: leave it out, or choose the encoder"),
        ({"shift": 65}, "shift is 65: give a whole number from 0 to 64"),
        ({"flip_lr": 2}, "flip_lr is 2.0: give a probability from 0 to 1"),
        ({"encoder": "sequence", "flip_lr": 0.5}, "flip_lr is 0.5, but sequences are not framed: leave it out"),
        ({"label_smoothing": 1}, "label_smoothing is 1.0: choose a fraction from 0 to below 1"),
        ({"label_smoothing": 0.1, "cost": "mse"}, "label_smoothing is 0.1, but real targets have no classes: leave it out"),
        ({"rank": 4}, "rank is 4, but the space 'node' has no such option: leave it out, or choose the space 'weight'"),
        ({"space": "weight", "windows": 3}, "windows is 3, but the space 'weight' has no such option"),
        ({"neuron": "loihi"}, "weight_bits is 32, but the neuron 'loihi' needs 8: choose it, or the neuron 'lif'"),
        ({"neuron": "loihi", "weight_bits": 8}, "encoder is 'direct', but the neuron 'loihi' takes spikes"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(InputError) as caught:
        TrainConfig("mnist", **options)
    assert message in str(caught.value)


def test_help_shows_the_same_groups(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["train", "--help"])
    text = capsys.readouterr().out
    positions = [text.index(f"\n{group}") for group in GROUPS]
    assert positions == sorted(positions)
    for group, start, end in zip(GROUPS, positions, [*positions[1:], len(text)], strict=True):
        for option in options_of(group):
            assert f"--{option.name.replace('_', '-')}" in text[start:end]


def test_a_resumed_run_keeps_its_options(tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", "digits", "--hidden", "4", "--epochs", "1", "--no-compile", "--threads", "1", "--out", run]) == 0
    assert main(["train", "digits", "--out", run, "--resume", "--epochs", "2"]) == 2
    assert "epochs is 2, but the run in" in capsys.readouterr().err

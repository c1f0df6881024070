"""The trained networks of ``polystep_snn.pretrained``: every one from its command, with the seed that validation likes best.

    python benchmarks/make_pretrained.py                              # all five, a quarter of an hour on one core
    python benchmarks/make_pretrained.py digits-int8 --out /tmp/zoo

Each is a run of ``polystep-snn train`` in the chip's integers, once a seed; the one with the best validation accuracy (then the lowest
validation loss) is kept, and its test accuracy, which chose nothing, is stated in its card. The same machine and versions give the same
integers.
"""

import argparse
import hashlib
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from polystep_snn.cli.main import main as polystep_snn
from polystep_snn.files import make_folder, read_json, write_json
from polystep_snn.trained_networks import CARD, FILES, FOLDER
from polystep_snn.training.run_folder import open_run

_MNIST = "MNIST (LeCun, Cortes, Burges)", "CC BY-SA"


class Recipe(NamedTuple):
    """A network to train.

    Attributes:
        title: what it is, in a line.
        train: what stands behind ``polystep-snn train``, without folder and seed.
        data, licence: what it learns from, and under which terms that is had.
        seeds: among which validation chooses.
    """

    title: str
    train: str
    data: str
    licence: str
    seeds: tuple[int, ...]


RECIPES = {
    "digits-int8": Recipe(
        "64-128-10, 8 x 8 digits, 16 steps of a rate code",
        "digits --neuron loihi",
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998, UCI), as scikit-learn carries them",
        "as distributed with scikit-learn (BSD-3-Clause)",
        (0, 1, 2),
    ),
    "mnist-int8": Recipe("784-128-10, MNIST, 16 steps of a rate code", "mnist --neuron loihi", *_MNIST, (0, 1, 2)),
    "nmnist-subset": Recipe(
        "2312-128-10, 1,000 recordings of N-MNIST, 30 frames of events",
        "nmnist --neuron loihi",
        "N-MNIST (Orchard et al. 2015), the first 1,000 training and the first 100 test recordings",
        "CC BY-SA",
        (0, 1, 2),
    ),
    "spoken-digits-recurrent": Recipe(
        "64-128r-10, spoken digits, 40 steps of ON and OFF events in 32 bands",
        "spoken-digits --neuron loihi --hidden 128r",
        "Free Spoken Digit Dataset (Jakobovski et al.), five of its six speakers",
        "CC BY-SA 4.0",
        (0, 1),
    ),
    "mnist-conv-int8": Recipe(
        "28x28-16c5s2-32c5s2-10, MNIST, 16 steps of a rate code",
        "mnist --neuron loihi --hidden 16c5s2 32c5s2 --credit chained --batch-size 64 --weight-decay 0.05 --epochs 5",
        *_MNIST,
        (0,),
    ),
}


def train(recipe: Recipe, seed: int, folder: Path) -> dict[str, Any]:
    """One run; what its last epoch but the best says."""
    command = ["train", *recipe.train.split(), "--threads", "1", "--seed", str(seed)]
    if polystep_snn([*command, "--device", "cpu", "--out", str(folder)]):
        sys.exit(f"{shlex.join(command)} failed")
    summary = read_json(folder / "summary.json")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {"command": shlex.join(["polystep-snn", *command]), "val_loss": metrics[summary["epoch"] - 1]["val_loss"], **summary}


def make(name: str, out: Path) -> dict[str, Any]:
    """Train, choose, write; the card."""
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory() as temporary:
        runs = {seed: train(recipe, seed, Path(temporary) / str(seed)) for seed in recipe.seeds}
        chosen = max(runs, key=lambda seed: (runs[seed]["val_accuracy"], -runs[seed]["val_loss"]))
        num_test = len(open_run(Path(temporary) / str(chosen)).dataset.test)
        make_folder(out / name)
        for file in FILES:
            shutil.copyfile(Path(temporary) / str(chosen) / file, out / name / file)
    found = runs[chosen]
    card = {
        "title": recipe.title,
        "dataset": found["dataset"],
        "test_accuracy": found["test_accuracy"],
        "test_samples": num_test,
        "val_accuracy": found["val_accuracy"],
        "epoch": found["epoch"],
        "command": found["command"],
        "val_accuracy_by_seed": {str(seed): run["val_accuracy"] for seed, run in runs.items()},
        "seconds": round(sum(run["seconds"] for run in runs.values())),
        "versions": found["versions"],
        "data": recipe.data,
        "data_licence": recipe.licence,
        "licence": "Apache-2.0",
        "sha256": {file: hashlib.sha256((out / name / file).read_bytes()).hexdigest() for file in FILES},
    }
    write_json(out / name / CARD, card)
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, among {', '.join(RECIPES)} (default all)")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="D", help="folder of folders (default: the package's own)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(RECIPES):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose among {', '.join(RECIPES)}")
    for name in arguments.names or RECIPES:
        card = make(name, arguments.out)
        print(f"{name}: validation {card['val_accuracy']:.2%}, test {card['test_accuracy']:.2%}, {card['seconds']} s", flush=True)


if __name__ == "__main__":
    main()

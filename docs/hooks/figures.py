"""Figures that are drawn from the benchmarks' result files when the site is built, and those that stand beside these files."""

from matplotlib.figure import Figure
from mkdocs.structure.files import File, Files
from results import RESULTS, ROOT, result

from polystep_snn import plots

_NAMES = {"polystep": "forward-only", "bptt": "BPTT"}
_COLORS = {"polystep": plots.BLUE, "bptt": plots.ORANGE}


def _pairs(title: str, groups: dict[str, dict[str, tuple[float, float]]], low: float) -> Figure:
    """Bars of both methods, with their standard deviations, a group beside the other."""
    figure = plots.new_figure(1.6 + 1.5 * len(groups), 3.2)
    ax = figure.subplots()
    for k, (method, name) in enumerate(_NAMES.items()):
        places = [place + 0.38 * (k - 0.5) for place in range(len(groups))]
        means, deviations = zip(*(values[method] for values in groups.values()), strict=True)
        ax.bar(places, means, 0.36, yerr=deviations, color=_COLORS[method], label=name, error_kw={"elinewidth": 1, "capsize": 2})
        for place, mean, deviation in zip(places, means, deviations, strict=True):
            ax.annotate(f"{mean:.1f}", (place, mean + deviation), (0, 2), textcoords="offset points", ha="center", fontsize=7)
    ax.set_xticks(range(len(groups)), list(groups), fontsize=8)
    ax.set_ylim(low, 101)
    ax.set_ylabel("test accuracy (%)", fontsize=9)
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8, loc="upper right", ncols=2, bbox_to_anchor=(1, 1.12))
    return figure


def _methods(name: str, forward: str = "polystep") -> dict[str, tuple[float, float]]:
    found = result(name)["methods"]
    return {method: (found[key]["accuracy_mean"], found[key]["accuracy_std"]) for method, key in (("polystep", forward), ("bptt", "bptt"))}


def accuracy() -> Figure:
    """Forward-only beside backpropagation through time, on every task that has both."""
    groups = {
        "MNIST\n784-128-10": _methods("mnist-default"),
        "MNIST\n784-512-10": _methods("mnist-wide"),
        "N-MNIST subset\ndense": _methods("nmnist"),
        "N-MNIST subset\nconvolutions": _methods("nmnist-conv", "polystep_float"),
    }
    return _pairs("Images and events", groups, 90)


def memory() -> Figure:
    """The same on sequences, with recurrent layers."""
    groups = {
        "MNIST\nrow by row": _methods("over-time-rows-recurrent"),
        "spoken digits\npublished split": _methods("over-time-spoken-recurrent"),
        "spoken digits\nspeaker held out": _methods("over-time-speakers-recurrent"),
        "tactile skin": _methods("over-time-touch-recurrent"),
    }
    return _pairs("Sequences", groups, 40)


def step_time() -> Figure:
    """What a training step takes, of either method."""
    found = result("step")["methods"]
    words = {
        "default": "membrane readout",
        "dense": "no zeros in the input",
        "count": "spike counts",
        "width-512": "512 hidden neurons",
        "batch-512": "batches of 512",
        "steps-60": "T = 60",
        "probed-32": "32 neurons probed",
        "depth-2": "two layers, exact",
        "chained": "two layers, chained",
    }
    cases = [*words]
    figure = plots.new_figure(6.4, 0.6 + 0.38 * len(cases))
    ax = figure.subplots()
    for k, (method, name) in enumerate(_NAMES.items()):
        places = [place + 0.38 * (k - 0.5) for place in range(len(cases))]
        ax.barh(places, [found[method][case]["ms_per_step"] for case in cases], 0.36, color=_COLORS[method], label=name)
    ax.set_yticks(range(len(cases)), list(words.values()), fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel("milliseconds a step", fontsize=9)
    ax.set_title("A training step on one core", loc="left", fontsize=10, fontweight="bold")
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return figure


def without_derivatives() -> Figure:
    """Networks without a derivative at 20,000 evaluations, by method."""
    tasks = {"int8": "int8 weights", "staircase": "staircase", "experts": "hard experts", "attention": "argmax attention"}
    methods = {
        "layers": "layer space",
        "weights": "weight space",
        "eggroll": "EGGROLL",
        "spsa": "SPSA",
        "openai_es": "OpenAI-ES",
        "cma_es": "CMA-ES",
        "published": "PolyStep 1.1.0",
    }
    colors = [plots.BLUE, "#63a4d8", plots.ORANGE, "#e0a878", "#8a8f98", "#b9bdc4", "#1a202c"]
    figure = plots.new_figure(8, 3.2)
    ax = figure.subplots()
    for k, (method, color) in enumerate(zip(methods, colors, strict=True)):
        heights = [result(f"paper-{task}-20000")["methods"][method]["test_mean"] for task in tasks]
        ax.bar([place + 0.12 * (k - 3) for place in range(len(tasks))], heights, 0.115, color=color, label=methods[method])
    ax.set_xticks(range(len(tasks)), list(tasks.values()), fontsize=8)
    ax.set_ylim(0, 100)
    ax.set_ylabel("test accuracy (%)", fontsize=9)
    ax.set_title("After 20,000 forward passes of a batch", loc="left", fontsize=10, fontweight="bold")
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


FIGURES_OF = {"accuracy": accuracy, "memory": memory, "step-time": step_time, "without-derivatives": without_derivatives}
_DRAWN = ROOT / "build" / "docs" / "figures"


def on_files(files: Files, config) -> Files:
    """Add all of them."""
    for path in sorted(RESULTS.rglob("*")):
        if path.suffix in (".png", ".gif"):
            place = "-".join(path.relative_to(RESULTS).parts)
            files.append(File.generated(config, f"benchmarks/figures/{place}", abs_src_path=str(path)))
    _DRAWN.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES_OF.items():
        path = _DRAWN / f"{name}.png"
        draw().savefig(path)
        files.append(File.generated(config, f"benchmarks/figures/{name}.png", abs_src_path=str(path)))
    return files

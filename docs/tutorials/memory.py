# %% [markdown]
# # Memory against timesteps
#
# Backpropagation through time keeps every timestep until the backward pass. Its memory grows with T. A training step here keeps membranes
# and counts: its memory does not grow. This page measures both, each point in a process of its own.
#
# The numbers are this machine's, from when the site was built, on a small network. [The benchmarks](../benchmarks/speed.md) have the
# numbers of a 784-128-10 network up to T = 10,000.

# %%

from polystep_snn import TrainConfig, plots
from polystep_snn.profiling import measure, num_classes

config = TrainConfig("mnist", hidden=(64,), batch_size=64, threads=1, compile=False)
points = []
for num_steps in (25, 100, 400):
    for method in ("polystep", "bptt"):
        points.append(measure(method, num_steps, config.to_json(), num_classes(config)))
        print(f"{method:8s} T = {num_steps:4d}: {points[-1]['peak_mb']:6.2f} MB, {1e3 * points[-1]['seconds_per_step']:7.1f} ms a step")

# %%
figure = plots.new_figure(8, 3.2)
left, right = figure.subplots(1, 2)
plots.against_steps(left, points, "peak_mb", "Memory of a training step", "peak (MB)")
plots.against_steps(right, points, "seconds_per_step", "Time of a training step", "seconds")
figure.savefig("memory.png")

# %% [markdown]
# ![Memory and time of a training step against timesteps](memory.png)
#
# ## What is counted
#
# The memory of a step is the peak of the resident memory over the resident memory before it. Weights, the optimizer's state and the batch
# are there before, and are the same for both methods.
#
# ## What lives through time
#
# For each probe: the membrane of the probed neuron, and a trace of its spikes. For each layer: membranes, and how often each input was
# active. None of these has a time axis. With M time windows there are M counts an input.
#
# ## Your own network
#
# ```
# polystep-snn profile --run runs/mnist --num-steps 25 100 400 --out profile
# ```

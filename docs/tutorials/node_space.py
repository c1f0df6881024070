# %% [markdown]
# # How node space works
#
# The first tutorial called `polystep.step` and left open what it does. This one takes a step apart, on a network that is small enough to
# draw: probes, costs, transport, displacement.
#
# PolyStep places *particles* and asks what the cost would be if one of them stood elsewhere. In node space a particle is one neuron in one
# sample. What is shifted is the neuron's input current.

# %%
import numpy as np
import torch
from matplotlib.animation import FuncAnimation, PillowWriter

from polystep_snn import LIF, CrossEntropy, LIFParameters, NodeSpace, NodeStep, Softmax, SpikingNetwork, plots

T = 20
neuron = LIFParameters.from_beta(0.9)
network = SpikingNetwork([3, 4, 2], neuron, generator=torch.Generator().manual_seed(5)).double()
for weight in network.weights:
    weight.mul_(2.0)
sample = torch.tensor([[0.6, 0.9, 0.4]]).double()
inputs = sample.expand(T, 1, 3)
target = torch.tensor([1])
cost = CrossEntropy(scale=0.5)


def run(shift=0.0, which=0):
    """Hidden spikes, membranes and readout of the sample when the current of one hidden neuron is shifted."""
    state, spikes, membranes = network.initial_state(1), [], []
    network.biases[0][which] += shift  # a constant shift of the current is a shift of the bias
    for x in inputs:
        (z,), state = network.step(x, state)
        spikes.append(z[0])
        membranes.append(state.hidden[0].v[0])
    network.biases[0][which] -= shift
    value = network.readout.value(state.readout)
    return torch.stack(spikes), torch.stack(membranes), value[0], float(cost(value.T, target))


spikes, membranes, value, base = run()
print(f"hidden spikes of each neuron {spikes.sum(0).int().tolist()}, readout {value.numpy().round(2)}, cost {base:.3f} nats")

# %% [markdown]
# ## Probes
#
# The probes of a neuron stand at the vertices of a polytope around its current. With one time window that is a line with two ends: the
# current plus a radius and the current minus a radius. The radius is measured in thresholds.
#
# Each probe is a real forward pass with hard thresholds. Here it is done the slow way, one pass a probe.

# %%
radius = 0.6 * neuron.v_th
costs = np.array([[run(shift, which)[3] for which in range(4)] for shift in (radius, -radius)])
for which in range(4):
    counts = [int(run(shift, which)[0][:, which].sum()) for shift in (0.0, radius, -radius)]
    up, down = costs[:, which]
    print(f"neuron {which}: {counts[0]} spikes, {counts[1]} and {counts[2]} when probed; costs {up:.3f} and {down:.3f}")

# %% [markdown]
# ## Transport
#
# Transport turns the costs of a particle into weights: the cheaper a vertex, the more of the particle goes there. With `Softmax` this is
# entropic optimal transport, and `eps` says how decided it is. The weighted mean of the vertices is the *displacement*, a number from
# -1 to 1.

# %%
transport = Softmax(eps=1.0)
shares = transport(torch.from_numpy(costs), 1.0).numpy()
displacement = shares[0] - shares[1]
print(f"shares of the upper vertex {shares[0].round(3)}")
print(f"displacements              {displacement.round(3)}")

# %% [markdown]
# ## From currents to weights
#
# A neuron's current is its weights times its input. So the displacement is pulled back along the input: a weight moves as much as its
# input was active. The bias moves by the displacement itself. With the minus sign, an optimizer descends.
#
# The library does all probes of all neurons in *one* pass over time. Its numbers are those of the slow way:

# %%
polystep = NodeStep(network, NodeSpace(radius=0.6), transport, cost)
result = polystep.step(inputs, target)
by_hand = -np.outer(displacement, sample[0].numpy())
found = network.weights[0].grad.numpy()
print(f"cost {float(result.loss):.3f}; largest difference from the slow way {np.abs(found - by_hand).max():.1e}")
assert np.allclose(found, by_hand, atol=1e-9)

# %% [markdown]
# ## Why one pass is enough
#
# * Samples do not interact. A shift of neuron *j* in the whole batch gives a cost for every sample.
# * A shifted neuron changes one spike train. The next layer's current changes by one column of weights times the change. No matrix product
#   is needed.
# * A readout that integrates is linear. A probe of the layer before it needs one membrane and one exponential a class.
#
# What is kept over time are membranes and counts. So memory does not grow with the number of timesteps:
# [memory against timesteps](memory.md) measures this.
#
# ## A neuron that walks
#
# A network of two inputs, one hidden neuron and two readout neurons shall tell twelve stimuli apart. Only the two weights of the hidden
# neuron are trained, so the cost can be drawn. The cost has terraces: its gradient is zero almost everywhere. The probes look over the
# edge.

# %%
generator = torch.Generator().manual_seed(1)
stimuli = torch.rand(12, 2, generator=generator).double()
small = SpikingNetwork([2, 1, 2], neuron).double()
small.weights[1].copy_(torch.tensor([[0.4], [-0.4]]))
small.biases[1].copy_(torch.tensor([-0.08, 0.08]))


def costs_at(weights, shift=0.0):
    """The cost of every stimulus ``[n, 12]`` for weights ``[n, 2]``, with the neuron's current shifted."""
    current, state, count = weights @ stimuli.T + shift, None, 0
    for _ in range(T):
        z, state = LIF(neuron)(current, state)
        count = count + z
    value = count[:, None] * small.weights[1][None] + T * small.biases[1][:, None]  # the readout integrates without a leak
    return cost(value, classes)


small.weights[0].copy_(torch.tensor([[1.1, -0.8]]))
classes = small(stimuli.expand(T, 12, 2))[0].argmax(1)
axis = torch.linspace(-2.0, 2.5, 226).double()
grid = torch.cartesian_prod(axis, axis)[:, [1, 0]]
terraces = costs_at(grid).mean(1).reshape(226, 226)
print(f"{len(classes)} stimuli, {int(classes.sum())} of class 1; the cost lies between {terraces.min():.3f} and {terraces.max():.3f} nats")

# %% [markdown]
# Plain gradient descent takes the steps, so that the path is PolyStep's alone.

# %%
small.weights[0].copy_(torch.tensor([[2.1, 1.6]]))
space = NodeSpace(radius=0.6)
walker = NodeStep(small, space, Softmax(eps=0.5), cost)
optimizer = torch.optim.SGD([small.weights[0]], lr=1.0)
path, probed = [], []
for _ in range(24):
    here = small.weights[0].clone()
    path.append(here[0].numpy())
    probed.append(torch.cat([costs_at(here, shift) for shift in (space.radius, -space.radius)]))
    walker.step(stimuli.expand(T, 12, 2), classes)
    optimizer.step()
path = np.array(path)
losses = [float(costs_at(torch.from_numpy(place[None])).mean()) for place in path]
print(f"cost {losses[0]:.3f} at the start, {losses[-1]:.3f} after {len(path) - 1} steps")

# %%
figure = plots.new_figure(9, 4.2)
figure.set_dpi(90)
axes = figure.subplot_mosaic("mc;md", width_ratios=(1.25, 1))
image = axes["m"].imshow(terraces, origin="lower", extent=(-2.0, 2.5, -2.0, 2.5), cmap="Blues_r")
figure.colorbar(image, ax=axes["m"], shrink=0.8, label="mean cost (nats)")
(trail,) = axes["m"].plot([], [], color="white", linewidth=1.5, marker=".", markersize=4)
(place,) = axes["m"].plot([], [], "o", color=plots.ORANGE, markersize=8)
number = np.arange(len(classes))
upper = axes["c"].bar(number - 0.2, 0 * number, 0.38, color=plots.ORANGE, label="current + radius")
lower = axes["c"].bar(number + 0.2, 0 * number, 0.38, color=plots.GREY, label="current - radius")
moved = axes["d"].bar(number, 0 * number, 0.7, color=plots.BLUE)
axes["m"].set(xlabel="first weight", ylabel="second weight", title="The cost, and the way down")
axes["c"].set(title="Costs of the two probes, a stimulus", ylim=(0, float(max(p.max() for p in probed))), xticks=[], ylabel="nats")
axes["d"].set(title="Transport: displacement of the current", ylim=(-1, 1), xlabel="stimulus", xticks=number)
axes["d"].axhline(0, color=plots.GREY, linewidth=0.8)
axes["c"].legend(frameon=False, fontsize=8, loc="upper right")
figure.draw_without_rendering()
figure.set_layout_engine("none")


def frame(k):
    """One step: where the neuron is, what its probes cost, where transport moves it."""
    k = min(k, len(path) - 1)
    trail.set_data(*path[: k + 1].T)
    place.set_data(*path[k : k + 1].T)
    shares = transport(probed[k], 0.5)
    for bars, heights in ((upper, probed[k][0]), (lower, probed[k][1]), (moved, shares[0] - shares[1])):
        for bar, height in zip(bars, heights.tolist(), strict=True):
            bar.set_height(height)
    return []


FuncAnimation(figure, frame, frames=len(path) + 5, init_func=list).save("walk.gif", PillowWriter(fps=3))

# %% [markdown]
# ![The weights of a neuron walk down a landscape of terraces; bars show what its two probes cost for each stimulus, and where transport
# moves its current](walk.gif)
#
# Each stimulus is a particle. Where both probes cost the same, the displacement is zero. Where one is cheaper, the current shall move
# there, and the weights follow along the stimulus.
#
# ## Where to read on
#
# * [The method](../method/index.md) has the equations, their sources, and says what is exact and what is not.
# * `polystep_snn/spaces/node/one_pass.py` is the pass, `tests/reference/naive_nodes.py` the same with one forward pass a probe.

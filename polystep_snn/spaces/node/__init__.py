"""Node space: every neuron of a spiking network is probed for every sample, in one pass over time."""

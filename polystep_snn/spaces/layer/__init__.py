"""Layer space: what is probed is a layer's outputs, for every sample by itself; any module whose samples keep apart."""

"""Spiking networks: neurons, encoders, readouts, and the networks made of them. Knows nothing of training."""

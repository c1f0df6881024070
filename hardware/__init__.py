"""Loihi 2: its arithmetic in numpy. Knows nothing of torch or of training."""

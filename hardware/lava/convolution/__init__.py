"""The Process of a convolution and its model. Not in ``processes``: Lava's own, which they extend, load half a second of scipy."""

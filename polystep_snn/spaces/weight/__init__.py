"""Weight space: the weights of any module are probed, one forward pass of a batch a candidate."""

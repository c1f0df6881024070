"""What a module keeps from one forward pass to the next, found and put back, so that passes start alike. Knows no method."""

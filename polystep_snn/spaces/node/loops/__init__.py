"""Node space on the CPU: what ``one_pass``, ``costs`` and ``gradients`` compute with torch, by compiled loops over kept arrays."""

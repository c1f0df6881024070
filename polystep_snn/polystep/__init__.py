"""PolyStep: probe the vertices of polytopes with forward passes, weigh them by optimal transport, move to the barycenter."""

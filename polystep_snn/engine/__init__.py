"""How it is computed: compiled loops, matrix products, memory. Nothing here knows a method or a network."""

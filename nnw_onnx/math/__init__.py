"""Arithmetic on numbers: no file, clock, graph, key or hidden randomness."""

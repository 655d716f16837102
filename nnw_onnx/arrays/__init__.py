"""Arithmetic on arrays: no file, no clock, no graph, no framework, no hidden randomness."""

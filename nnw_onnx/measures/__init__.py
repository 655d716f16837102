"""The three answers: imperceptibility, robustness, computational cost."""

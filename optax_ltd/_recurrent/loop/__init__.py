"""The program over time, forward and backward, with Ω and without."""

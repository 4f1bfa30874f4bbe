"""Training: one loop, and a file for each thing that it is made of."""

"""What computes logits: one file a backend, each a predictor that takes images of any size."""

"""What computes logits: one file a runtime, each a predictor that takes images of any size."""

"""The one evaluation: a pass over logits and masks, and the figures that come of it."""

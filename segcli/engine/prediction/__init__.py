"""From images to masks: predictors, and what wraps them."""

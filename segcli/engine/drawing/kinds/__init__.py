"""Kinds of pictures of a prediction, one file each."""

from segcli.engine.drawing.kinds import confidence, contours, errors, overlay, panel

KINDS = (overlay.KIND, panel.KIND, contours.KIND, errors.KIND, confidence.KIND)
"""What `seg visualize` draws, by the options that ask for it."""

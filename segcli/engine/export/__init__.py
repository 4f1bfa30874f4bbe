"""Exports: one file a target, and the check that a file agrees with its model."""

"""Datasets: native layouts to prepared ones, explicit folders, and the one embedded in the package."""

"""Figures of a dataset, and a page that shows them."""

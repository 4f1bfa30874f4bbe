"""Layouts of datasets: how each is found in a folder and read; `known` lists them all."""

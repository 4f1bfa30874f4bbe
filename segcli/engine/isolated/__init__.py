"""What cannot live beside the newest torch: an environment of its own, and processes in it that are talked to by pipes.

The files `inside_….py` run in there, and import nothing of segcli but each other.
"""

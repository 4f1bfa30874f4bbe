"""A config made for the data: figures of it, what can be had here, and the rules that lead from them to choices."""

"""The engine: trains, evaluates, predicts and exports. A library: it returns values and prints nothing."""

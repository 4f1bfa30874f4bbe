"""The command line: each command parses, calls one function of the engine and shows what it returns."""

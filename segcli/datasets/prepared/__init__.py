"""The folder that everything reads: its format, how it is written, how splits are dealt."""

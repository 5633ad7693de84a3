"""The command line: one module per command, each a thin shell over an importable function."""

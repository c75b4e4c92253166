"""Measurements: each module prints a table, as a ratio against a peer or the naive version in the same run."""

"""Splits, regimes, metrics and aggregators: everything that decides what a number in a table means."""

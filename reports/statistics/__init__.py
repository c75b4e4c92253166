"""Intervals, tests and comparisons of stored scores."""

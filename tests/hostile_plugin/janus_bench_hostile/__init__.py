"""Detectors that misbehave, for the tests of the harness."""

"""A results folder: what is stored, and the numbers that are read from it."""

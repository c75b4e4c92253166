"""``labels.csv`` → labels of flows."""

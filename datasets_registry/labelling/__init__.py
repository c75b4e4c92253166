"""Label files → labels of flows: their 5-tuples, times and clock, and how their rows are matched."""

"""One network, no labels: a detector is fitted on captures believed benign, and tells of other captures what is odd."""

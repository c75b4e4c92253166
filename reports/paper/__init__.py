"""A folder that a paper begins with: methods with this run's numbers, tables, figures, references, dataset cards."""

"""A module that cannot be imported."""

raise RuntimeError("this module\nraises at import")

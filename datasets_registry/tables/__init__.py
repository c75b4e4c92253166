"""Datasets without packets: tables of published features, their layouts, how they are read and stored."""

"""Numbers of the literature: shown beside measured ones, never ranked."""

"""Numbers of things, as people say them."""


def counted(number: int, noun: str) -> str:
    """``1 dataset``, ``2 datasets``, ``1,024 flows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

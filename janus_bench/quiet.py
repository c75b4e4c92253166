"""The callback of someone who does not listen."""


def ignore(*_: object) -> None:
    """Takes whatever it is told, a fraction done or a line of text, and does nothing."""

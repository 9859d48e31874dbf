"""A number with what it counts, as a message says it."""


def counted(number: int, noun: str, many: str = "") -> str:
    """``1 path``, ``2 paths``; ``many`` is the plural where it is not made with an s."""
    return f"1 {noun}" if number == 1 else f"{number} {many or noun + 's'}"

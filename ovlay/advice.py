"""The command that is named as the next step, such that it can be run as it is said."""

DEFAULT_TARGET = "/usr"


def command(words: str, target: str) -> str:
    """A command of ovlay's in backquotes, with ``--target`` where it is for another directory than `DEFAULT_TARGET`."""
    if target == DEFAULT_TARGET:
        return f"`{words}`"
    from shlex import quote

    return f"`{words} --target {quote(target)}`"


def look_again(target: str = DEFAULT_TARGET) -> str:
    """What to do where the host is not what it was taken for."""
    return f"look at {command('ovlay status', target)}, then try again"

"""What the library logs, shown on standard error by loguru where -v asks for it."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = {1: logging.INFO, 2: logging.DEBUG}


class InterceptHandler(logging.Handler):
    """Hand the records of the standard library's logging over to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, with its own level and logger."""
        from loguru import logger

        logger.bind(logger=record.name).opt(exception=record.exc_info).log(record.levelname, "{}", record.getMessage())


@contextmanager
def logs_shown(verbose: int) -> Iterator[None]:
    """Show the library's log for the length of a block: from INFO on (-v), or from DEBUG on (-vv)."""
    from loguru import logger

    from ovlay.cli.terminal import shows_colour

    level = LEVELS[min(verbose, max(LEVELS))]
    with suppress(ValueError):  # loguru's own handler, that shows everything; it is gone the second time
        logger.remove(0)
    number = logger.add(
        sys.stderr,
        level=level,
        format="{level: <5} {extra[logger]}: {message}",
        colorize=shows_colour(sys.stderr),
        diagnose=False,
        backtrace=False,
    )
    library = logging.getLogger("ovlay")
    before = library.level, library.propagate
    handler = InterceptHandler()
    library.addHandler(handler)
    library.setLevel(level)
    library.propagate = False
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(before[0])
        library.propagate = before[1]
        logger.remove(number)

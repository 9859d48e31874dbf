"""What the library logs, shown on standard error by loguru where -v asks for it."""

from __future__ import annotations

import logging
import sys

LEVELS = {1: logging.INFO, 2: logging.DEBUG}


class InterceptHandler(logging.Handler):
    """Hand the records of the standard library's logging over to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, with its own level and logger."""
        from loguru import logger

        logger.bind(logger=record.name).opt(exception=record.exc_info).log(record.levelname, "{}", record.getMessage())


def show_logs(verbose: int) -> None:
    """Show the library's log from INFO on (-v), or from DEBUG on (-vv)."""
    from loguru import logger

    from ovlay.cli.terminal import shows_colour

    level = LEVELS[min(verbose, max(LEVELS))]
    logger.remove()
    logger.add(
        sys.stderr,
        level=level,
        format="{level: <5} {extra[logger]}: {message}",
        colorize=shows_colour(sys.stderr),
        diagnose=False,
        backtrace=False,
    )
    library = logging.getLogger("ovlay")
    library.handlers = [InterceptHandler()]
    library.setLevel(level)
    library.propagate = False

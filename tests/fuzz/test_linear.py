"""Time grows with the length of an input, and not with its square."""

from __future__ import annotations

import pytest

from tests.fuzz.large import SHAPES, Shape, seconds

FACTOR = 8
BOUND = 20  # of the eightfold input; a quadratic parser takes sixty-four times as long
LEAST = 0.004  # seconds: less cannot be told from noise
START, LARGEST = 4_000, 250_000


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_time_is_linear(shape: Shape) -> None:
    """At the first size that takes a time which can be measured; where that is too long, at twice as much, and so on.

    Other work on the machine comes at random, and a cache ends at one size: what is quadratic is so at every one.
    """
    seconds(shape, 1000)  # what is imported and compiled once
    size = START
    while (small := seconds(shape, size, runs=2)) < LEAST and size < LARGEST:
        size *= 2
    if small < LEAST:
        return
    ratios = []
    for _ in range(4):
        ratios.append(seconds(shape, size * FACTOR, runs=2) / seconds(shape, size, runs=3))
        if min(ratios) < BOUND:
            return
        size *= 2
    pytest.fail(f"{FACTOR} times as much, up to {size // 2} bytes, took {min(ratios):.1f} times as long")

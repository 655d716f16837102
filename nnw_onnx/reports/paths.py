"""Paths of SVG: read, and with arcs and quadratic curves as cubic ones."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

Point = tuple[float, float]
Step = tuple[str, tuple[float, ...]]
"""An operator of PDF with its numbers: m, l, c or h."""

_TOKEN = re.compile(r"([MmLlHhVvQqAaZz])|(-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)")
_SIZES = {"m": 2, "l": 2, "h": 1, "v": 1, "q": 4, "a": 7, "z": 0}


def drawn(d: str) -> Iterator[Step]:
    """The steps of a path in absolute numbers.

    Args:
        d: of the commands M, L, H, V, Q, A and Z, large or small.

    Raises:
        ValueError: a number too few.
    """
    at = start = (0.0, 0.0)
    for letter, numbers in _commands(d):
        base = at if letter.islower() else (0.0, 0.0)
        match letter.lower():
            case "z":
                yield "h", ()
                at = start
                continue
            case "h":
                at = (base[0] + numbers[0], at[1])
            case "v":
                at = (at[0], base[1] + numbers[0])
            case "q":
                middle, end = _pairs(numbers, base)
                yield "c", _quadratic(at, middle, end)
                at = end
                continue
            case "a":
                end = (base[0] + numbers[5], base[1] + numbers[6])
                yield from _arc(at, numbers[0], (numbers[3] != 0, numbers[4] != 0), end)
                at = end
                continue
            case _:
                at = _pairs(numbers, base)[0]
        if letter in "Mm":
            start = at
        yield ("m" if letter in "Mm" else "l"), at


def vertices(d: str) -> list[Point]:
    """The points that a path goes through."""
    return [(numbers[-2], numbers[-1]) for _, numbers in drawn(d) if numbers]


def moved(steps: Iterator[Step], by: Point) -> Iterator[Step]:
    """The same steps at another place."""
    for letter, numbers in steps:
        yield letter, tuple(x + by[i % 2] for i, x in enumerate(numbers))


def _commands(d: str) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Each command with its numbers; pairs after a move are lines."""
    letter, waiting = "M", [float(n) if n else c for c, n in _TOKEN.findall(d)]
    while waiting:
        if isinstance(first := waiting[0], str):
            letter = first
            waiting = waiting[1:]
        size = _SIZES[letter.lower()]
        numbers = tuple(x for x in waiting[:size] if isinstance(x, float))
        if len(numbers) < size:
            raise ValueError(f"path: expected {size} numbers after {letter}, got {d!r}; mend it")
        yield letter, numbers
        waiting = waiting[size:]
        if size == 0 and waiting and isinstance(waiting[0], float):
            raise ValueError(f"path: expected a command after {letter}, got {d!r}; mend it")
        letter = {"M": "L", "m": "l"}.get(letter, letter)


def _pairs(numbers: Sequence[float], base: Point) -> list[Point]:
    return [(base[0] + x, base[1] + y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _quadratic(start: Point, middle: Point, end: Point) -> tuple[float, ...]:
    """The cubic curve that is this quadratic one."""
    first = [a + 2 / 3 * (b - a) for a, b in zip(start, middle, strict=True)]
    second = [c + 2 / 3 * (b - c) for c, b in zip(end, middle, strict=True)]
    return (*first, *second, *end)


def _arc(start: Point, radius: float, flags: tuple[bool, bool], end: Point) -> Iterator[Step]:
    """A part of a circle as cubic curves of at most a quarter (SVG 1.1, F.6).

    Args:
        start: where it begins.
        radius: of the circle; more where it does not reach.
        flags: whether it is the longer part, and whether angles rise.
        end: where it ends.
    """
    chord = math.dist(start, end)
    radius = max(radius, chord / 2)
    height = math.sqrt(max(0.0, radius**2 - chord**2 / 4))
    side = 1.0 if flags[0] != flags[1] else -1.0
    unit = ((end[0] - start[0]) / chord, (end[1] - start[1]) / chord)
    x = (start[0] + end[0]) / 2 - side * height * unit[1]
    y = (start[1] + end[1]) / 2 + side * height * unit[0]
    begin = math.atan2(start[1] - y, start[0] - x)
    sweep = math.atan2(end[1] - y, end[0] - x) - begin
    sweep += 2 * math.pi * (flags[1] and sweep <= 0) - 2 * math.pi * (not flags[1] and sweep >= 0)
    count = math.ceil(abs(sweep) / (math.pi / 2) - 1e-9)
    for i in range(count):
        yield "c", _quarter((x, y), radius, begin + sweep * i / count, sweep / count)


def _quarter(centre: Point, radius: float, begin: float, sweep: float) -> tuple[float, ...]:
    pull = 4 / 3 * math.tan(sweep / 4)
    numbers: list[float] = []
    for angle, sign in ((begin, 1.0), (begin + sweep, -1.0)):
        x = math.cos(angle) - sign * pull * math.sin(angle)
        y = math.sin(angle) + sign * pull * math.cos(angle)
        numbers += [centre[0] + radius * x, centre[1] + radius * y]
    end = begin + sweep
    return (*numbers, centre[0] + radius * math.cos(end), centre[1] + radius * math.sin(end))

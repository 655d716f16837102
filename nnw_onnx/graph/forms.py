"""Unknown factors of channels, and the equations that operators put on them.

A form is a sum of variables times integers: the logarithm of a factor that is a product of powers
of unknown ones. Signs are the same over the integers modulo 2, and matrices that mix channels are
forms of one variable, whose negative is the inverse transposed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Variable: TypeAlias = tuple[int, ...]
"""An unknown factor of each channel: a number, then which piece of it, where it was cut."""
Form: TypeAlias = tuple[tuple[Variable, int], ...]
"""Sum of variables times integers, sorted; () is 0: nothing is done."""


def added(first: Form, second: Form, factor: int = 1, modulus: int | None = None) -> Form:
    """The form first + factor second, modulo a number where one is given."""
    found = dict(first)
    for variable, power in second:
        found[variable] = found.get(variable, 0) + factor * power
    if modulus is not None:
        found = {variable: power % modulus for variable, power in found.items()}
    return tuple(sorted((v, p) for v, p in found.items() if p))


@dataclass(frozen=True)
class Action:
    """What may be done to the channels of a part without changing any output.

    Attributes:
        scale: logarithm of the positive factor of each channel.
        sign: logarithm of its sign, modulo 2.
        mix: the matrix by which the channels are mixed.
    """

    scale: Form = ()
    sign: Form = ()
    mix: Form = ()

    def piece(self, index: int) -> Action:
        """That of one of the pieces into which the channels are cut."""
        return Action(_cut(self.scale, index), _cut(self.sign, index), _cut(self.mix, index))


STILL = Action()
"""Nothing may be done."""


def _cut(form: Form, piece: int) -> Form:
    return tuple(sorted(((*v, piece), p) for v, p in form))


class Forms:
    """Which variables are still free, under the equations so far."""

    def __init__(self, modulus: int | None = None) -> None:
        self._modulus = modulus
        self._solved: dict[Variable, Form] = {}

    def free(self, form: Form) -> Form:
        """The form over variables that are free so far."""
        found: Form = ()
        waiting = list(form)
        while waiting:
            variable, power = waiting.pop()
            value = self._value(variable)
            if value is None:
                found = added(found, ((variable, 1),), power, self._modulus)
            else:
                waiting += [(v, power * p) for v, p in value]
        return found

    def _value(self, variable: Variable) -> Form | None:
        """What the variable, or what it is a piece of, is known to be."""
        for end in range(len(variable), 0, -1):
            value = self._solved.get(variable[:end])
            if value is not None:
                return tuple((v + variable[end:], p) for v, p in value)
        return None

    def vanishes(self, form: Form) -> None:
        """From now on the form is 0."""
        free = self.free(form)
        chosen = next(((v, p) for v, p in free if abs(p) == 1), None)
        if chosen is None:
            for variable, _ in free:  # 2 x = 0, or 2 x = 3 y: no scaling is listed rather than half
                self._solved[variable] = ()
            return
        rest = tuple((v, -chosen[1] * p) for v, p in free if v != chosen[0])
        self._solved[chosen[0]] = rest

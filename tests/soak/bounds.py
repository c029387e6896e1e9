"""What a part's figures must be."""

from collections.abc import Mapping

Figures = dict[str, float]
Bounds = Mapping[str, tuple[float, float]]


class BoundsBrokenError(Exception):
    """Some figures are outside their bounds. `figures` are all that were measured."""

    def __init__(self, figures: Figures, broken: list[str]) -> None:
        super().__init__("; ".join(broken))
        self.figures = figures
        self.broken = broken


def within(figures: Figures, bounds: Bounds) -> Figures:
    """The figures, if each bounded one is there and inside, ends included.

    Raises BoundsBrokenError naming all that are not; what is not a number is inside nothing.
    """
    broken = []
    for name, (low, high) in bounds.items():
        value = figures.get(name)
        if value is None:
            broken.append(f"{name} was not measured")
        elif not low <= value <= high:
            broken.append(f"{name} is {value:g}, not in {low:g} to {high:g}")
    if broken:
        raise BoundsBrokenError(figures, broken)
    return figures

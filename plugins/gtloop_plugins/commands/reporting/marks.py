"""Small things that all plots of a report share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

ANSWER = "#9fb6da"
"""Single answers of people, and what people alone would cost: a paler blue than their label."""
SURE = 1.959964
"""Standard errors on either side of a mean that hold 95 % of a normal distribution."""


def whole(ax: Axes, n: Sequence[int] = ()) -> None:
    """Whole numbers on the x axis; from the least to the largest of ``n``, with room around a single one."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if n:
        ax.set_xlim(min(n) - 0.6, max(n) + 0.6)


def few_ticks(axis: Axis, at: Sequence[int] = (1, 2, 5)) -> None:
    """Plain numbers on a logarithmic axis, at these multiples of powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def legend(ax: Axes) -> None:
    """The legend above the plot, on the right, where it hides nothing."""
    for handle in ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0.2).legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def named(name: str, values: Any) -> str | None:
    """A name for the legend; None, which leaves it out, where there is nothing but zeros to see."""
    return name if any(values) else None


def apart(names: Sequence[str], length: int) -> dict[str, str]:
    """Names that have room at an axis, and can still be told from each other.

    Where some are too long, what all begin with gives way first; names that would look the same stay whole.
    """
    if all(len(name) <= length for name in names):
        return {name: name for name in names}
    common = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
    cut = common if common > 1 and len(names) > 1 else 0
    found = {name: short("…" * bool(cut) + name[cut:], length) for name in names}
    return found if len(set(found.values())) == len(found) else {name: name for name in names}


def short(name: str, length: int = 18) -> str:
    """A name that has room at an axis."""
    return name if len(name) <= length else name[: length - 1] + "…"


def room(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that shows values of [0, 1] large enough to be told apart."""
    least = min(values, default=0.0)
    return (0.0, 1.03) if least < 0.5 else (2 * least - 1.03, 1.03) if least < 0.95 else (0.9, 1.01)

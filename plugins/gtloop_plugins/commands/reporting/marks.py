"""Small things that all plots of a report share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURE = 1.959964
"""Standard errors on either side of a mean that hold 95 % of a normal distribution."""


def whole(ax: Axes, n: Sequence[int] = ()) -> None:
    """Whole numbers on the x axis; from the least to the largest of ``n``, with room around a single one."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if n:
        ax.set_xlim(min(n) - 0.6, max(n) + 0.6)


def legend(ax: Axes) -> None:
    """The legend above the plot, on the right, where it hides nothing."""
    for handle in ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0.2).legend_handles:
        if handle is not None:
            handle.set_alpha(1)


def short(name: str, length: int = 18) -> str:
    """A name that has room at an axis."""
    return name if len(name) <= length else name[: length - 1] + "…"

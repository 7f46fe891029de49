"""How plots look, wherever they are drawn: colours, themes, and rendering with matplotlib.

Colours mean the same everywhere: blue is people, orange is the machine, green is the truth.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HUMAN, MACHINE, TRUTH = "#4c72b0", "#dd8452", "#2f9e57"
DPI = 160


@dataclass(frozen=True)
class Theme:
    """Ink, lines and paper of a plot."""

    ink: str
    faint: str
    paper: str
    human: str = HUMAN
    machine: str = MACHINE
    truth: str = TRUTH


LIGHT = Theme(ink="#2b3138", faint="#dfe3e8", paper="#ffffff")
DARK = Theme(ink="#c9d1d9", faint="#343b44", paper="#171b20")

Draw = Callable[["Figure", Theme], None]
Form = Literal["png", "svg"]
_METADATA: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""What files would say of when and how they were made; nothing, so that bytes are the same."""


class Rendered(NamedTuple):
    """A plot as it is written: PNGs in both themes, and an SVG in the light one."""

    light: bytes
    dark: bytes
    svg: bytes


def render(draw: Draw, theme: Theme, size: tuple[float, float], form: Form = "png") -> bytes:
    """A plot as PNG or SVG, ``size`` in inches at ``DPI``; the same input gives the same bytes."""
    import matplotlib as mpl

    with mpl.rc_context(_style(theme)):
        return _saved(_laid_out(_drawn(draw, theme, size)), form)


def render_all(draw: Draw, size: tuple[float, float]) -> Rendered:
    """A plot as PNG in both themes and as SVG, laid out once: a layout costs more than a drawing."""
    import matplotlib as mpl

    with mpl.rc_context(_style(LIGHT)):
        figure = _laid_out(_drawn(draw, LIGHT, size))
        light, svg = _saved(figure, "png"), _saved(figure, "svg")
    with mpl.rc_context(_style(DARK)):
        dark = _drawn(draw, DARK, size)
        for ax, same in zip(dark.axes, figure.axes, strict=True):
            ax.set_position(same.get_position(original=True))
        return Rendered(light, _saved(dark, "png"), svg)


def _drawn(draw: Draw, theme: Theme, size: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    draw(figure, theme)
    return figure


def _laid_out(figure: Figure) -> Figure:
    """The same, in room that its words fit in; the figure keeps no layout engine, which would work at every saving."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ConstrainedLayoutEngine().execute(figure)
    return figure


def _saved(figure: Figure, form: Form) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format=form, dpi=DPI, metadata=_METADATA[form])
    return out.getvalue()


def _style(theme: Theme) -> dict[Any, Any]:
    return {
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": theme.paper,
        "axes.axisbelow": True,
        "figure.facecolor": theme.paper,
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": theme.faint,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "hatch.linewidth": 0.6,
        "svg.hashsalt": "gtloop",  # ids of its parts, else drawn at random
    }

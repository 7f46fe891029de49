"""Just enough SVG for the pictures of docs/promise-in-pictures.md: a white card, text, shapes, and dots that stack."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, GREY, PALE = "#24292f", "#6e7781", "#d0d7de"
PEOPLE, MACHINE, BROKEN = "#0969da", "#bf5b04", "#cf222e"


class Card:
    """A picture ``width`` x ``height`` user units large, with a ground of its own, so that dark pages can show it.

    Args:
        height: Of the picture.
        title: What it shows; for those who can't see it.
        width: Of the picture.
    """

    def __init__(self, height: int, title: str, width: int = 760) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="14">',
            f"<title>{escape(title)}</title>",
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="#fff" stroke="{PALE}"/>',
        ]

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        fill: str = INK,
        size: int = 14,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"{weight}>'
            f"{escape(words)}</text>"
        )

    def rect(
        self, x: float, y: float, w: float, h: float, *, fill: str = "none", stroke: str = "none", opacity: float = 1
    ) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="2.5" fill-opacity="{opacity:g}"/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = INK, dash: str = "", w: float = 1.5
    ) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line {ends} stroke="{stroke}" stroke-width="{w:g}"{dashed}/>')

    def dot(self, x: float, y: float, r: float, *, fill: str, hollow: bool = False) -> None:
        how = f'fill="#fff" stroke="{fill}" stroke-width="1.6"' if hollow else f'fill="{fill}"'
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" {how}/>')

    def area(self, points: Sequence[tuple[float, float]], *, fill: str, opacity: float = 1) -> None:
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polygon points="{corners}" fill="{fill}" fill-opacity="{opacity:g}"/>')

    def done(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


class Axis:
    """A scale from ``low`` to ``high`` that is drawn from ``left`` to ``right``, at height ``y``."""

    def __init__(self, card: Card, low: float, high: float, left: float, right: float, y: float) -> None:
        self.card, self.low, self.high, self.left, self.right, self.y = card, low, high, left, right, y

    def x(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)

    def draw(self, ticks: Sequence[float], label: str, form: str = "{:.2f}") -> None:
        self.card.line(self.left, self.y, self.right, self.y, stroke=GREY, w=1)
        for tick in ticks:
            self.card.line(self.x(tick), self.y, self.x(tick), self.y + 5, stroke=GREY, w=1)
            self.card.text(self.x(tick), self.y + 19, form.format(tick), fill=GREY, size=12, anchor="middle")
        self.card.text(self.right, self.y + 37, label, fill=GREY, size=12, anchor="end")

    def mark(self, value: float, top: float, words: str) -> None:
        """A dashed line at a value, up to ``top``, with words above it."""
        self.card.line(self.x(value), self.y, self.x(value), top, dash="5 4")
        self.card.text(self.x(value), top - 6, words, size=12, anchor="middle")

    def stack(self, values: Sequence[float], step: float, r: float, *, below: float) -> None:
        """One dot for each value, in columns ``step`` wide; those under ``below`` are hollow and red."""
        seen: dict[int, int] = {}
        for value in sorted(values):
            column = int(value // step)
            seen[column] = seen.get(column, 0) + 1
            bad = value < below
            centre = min(max((column + 0.5) * step, self.low), self.high)
            self.card.dot(
                self.x(centre),
                self.y - r - 1 - (seen[column] - 1) * (2 * r + 1),
                r,
                fill=BROKEN if bad else PEOPLE,
                hollow=bad,
            )

"""Marks and axes as SVG elements, in the colours and the font of the page that they are a part of."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
Marker = Literal["circle", "square", "diamond", "up", "down"]

FONT = 9.5  # units: 12 pixels high on a phone, where a picture of 245 units is 310 pixels wide
LETTER = 0.56  # of the size of a font: the mean width of its letters, for margins
DASHES = "3 2"
MARKER = 2.6  # units from the middle of a marker to its side
OUTLINES: dict[Marker, tuple[Point, ...]] = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "up": ((0, -1.2), (1.2, 1), (-1.2, 1)),
    "down": ((0, 1.2), (1.2, -1), (-1.2, -1)),
}


class Picture:
    """An SVG element of marks; units from the upper left corner; colours are variables of the page."""

    def __init__(self, width: float, height: float) -> None:
        """Start an empty picture."""
        self.width = width
        # What the figure around it says is for those who do not see it.
        self._root = ET.Element("svg", {"viewBox": f"0 0 {_number(width)} {_number(height)}", "aria-hidden": "true"})

    def line(self, points: Sequence[Point], color: str, *, width: float = 1.6, is_dashed: bool = False) -> None:
        """Draw a line through points."""
        attributes = {"d": _path(points), "style": f"fill:none;stroke:var(--{color});stroke-width:{width}"}
        ET.SubElement(self._root, "path", attributes | ({"stroke-dasharray": DASHES} if is_dashed else {}))

    def area(self, points: Sequence[Point], color: str, *, opacity: float = 1.0) -> None:
        """Fill what lies inside of points."""
        style = f"fill:var(--{color})" + (f";fill-opacity:{opacity}" if opacity < 1 else "")
        ET.SubElement(self._root, "path", {"d": f"{_path(points)}Z", "style": style})

    def bar(self, start: Point, end: Point, color: str) -> None:
        """Fill the rectangle between two corners."""
        (left, top), (right, bottom) = start, end
        self.area(((left, top), (right, top), (right, bottom), (left, bottom)), color)

    def marker(self, middle: Point, shape: Marker, color: str) -> None:
        """Draw a mark at a point."""
        x, y = middle
        if shape == "circle":
            self.circle(middle, MARKER, color, is_filled=True)
        else:
            self.area([(x + MARKER * right, y + MARKER * down) for right, down in OUTLINES[shape]], color)

    def circle(self, middle: Point, radius: float, color: str, *, is_filled: bool = False) -> None:
        """Draw a ring or a disc."""
        style = f"fill:var(--{color})" if is_filled else f"fill:none;stroke:var(--{color});stroke-width:1"
        places = {"cx": _number(middle[0]), "cy": _number(middle[1]), "r": _number(radius)}
        ET.SubElement(self._root, "circle", {**places, "style": style})

    def text(
        self, point: Point, text: str, color: str = "ink", *, anchor: Anchor = "start", size: float = FONT
    ) -> None:
        """Write a line of text, its base line at a point."""
        element = ET.SubElement(self._root, "text", {"x": _number(point[0]), "y": _number(point[1])})
        element.set("style", f"fill:var(--{color});font-size:{size}px;text-anchor:{anchor}")
        element.text = text

    def upright(self, point: Point, text: str, color: str) -> None:
        """Write a line of text from below to above, its middle at a point."""
        self.text(point, text, color, anchor="middle")
        self._root[-1].set("transform", f"rotate(-90 {_number(point[0])} {_number(point[1])})")

    def __str__(self) -> str:
        return ET.tostring(self._root, encoding="unicode")


@dataclass(frozen=True)
class Scale:
    """One side of a picture's axes.

    Attributes:
        low, high: the values at its ends.
        ticks: values that have a label, with it.
        title: what it measures; empty where the caption says so.
        is_log: whether equal factors are equally far apart.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str = ""
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the side a value lies: 0 at its low end, 1 at its high end."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low) if self.high > self.low else 0.5
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5


@dataclass(frozen=True)
class Axes:
    """A part of a picture in which values have places."""

    x: Scale
    y: Scale
    left: float
    right: float
    top: float
    bottom: float

    def at(self, x: float, y: float) -> Point:
        """Give the place of a pair of values."""
        across = self.left + self.x.share(x) * (self.right - self.left)
        return across, self.bottom - self.y.share(y) * (self.bottom - self.top)

    def draw(self, picture: Picture, *, has_x_labels: bool = True, has_x_grid: bool = False) -> None:
        """Draw lines behind the marks, the sides, and labels beside them."""
        for value, label in self.y.ticks:
            _, y = self.at(self.x.low, value)
            picture.line(((self.left, y), (self.right, y)), "line", width=0.6)
            picture.text((self.left - 4, y + 0.35 * FONT), label, "muted", anchor="end")
        for value, label in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            if has_x_grid:
                picture.line(((x, self.top), (x, self.bottom)), "line", width=0.6)
            if has_x_labels:
                picture.line(((x, self.bottom), (x, self.bottom + 3)), "line", width=0.8)
                picture.text((x, self.bottom + 12.5), label, "muted", anchor="middle")
        picture.line(((self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)), "line", width=0.8)
        if self.x.title and has_x_labels:
            picture.text(((self.left + self.right) / 2, self.bottom + 24.5), self.x.title, "muted", anchor="middle")
        if self.y.title:
            picture.upright((FONT - 1, (self.top + self.bottom) / 2), self.y.title, "muted")


def left_margin(*scales: Scale) -> float:
    """Give the room that labels and title of scales at the left take."""
    letters = max((len(label) for scale in scales for _, label in scale.ticks), default=0)
    return 6 + letters * LETTER * FONT + (FONT + 3 if any(scale.title for scale in scales) else 0)


def linear_ticks(low: float, high: float, *, most: int, is_whole: bool = False) -> tuple[tuple[float, str], ...]:
    """Choose at most so many round values from low to high.

    Example:
        >>> [label for _, label in linear_ticks(0, 0.47, most=5)]
        ['0', '0.1', '0.2', '0.3', '0.4']
    """
    if not high > low:
        return ((low, f"{low:g}"),)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = [step * power for step in (1, 2, 2.5, 5, 10, 20, 25, 50)]
    if is_whole:
        steps = [step for step in steps if step >= 1 and step == int(step)] or [1.0]
    for step in steps:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return tuple((index * step, f"{index * step:.10g}") for index in range(first, last + 1))


def decade_ticks(low: float, high: float, *, most: int) -> tuple[tuple[float, str], ...]:
    """Choose at most so many powers of ten from low to high; within few decades also their doubles and halves.

    Example:
        >>> [label for _, label in decade_ticks(0.03, 1.2, most=6)]
        ['0.05', '0.1', '0.2', '0.5', '1']
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors, every in (((1, 2, 5), 1), *(((1,), every) for every in range(1, len(powers) + 1))):
        values = [factor * 10.0**power for power in powers if power % every == 0 for factor in factors]
        ticks = tuple((value, f"{value:.6g}") for value in values if low <= value <= high)
        if len(ticks) <= most:
            break
    return ticks


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")

"""The content that a PDF page paints: images, text and vector drawings with their places; and matrices of PDF."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf.page_tree import Box, numbers

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Draw:
    """An image drawn on a page.

    `image` is the stream of an image object, made of an inline image if `inline`. `matrix` maps the unit square to
    default user space. `position` is the index of the drawing instruction in the content of `container`: a form, or
    None for the page. `order` counts painted things. `opaque` images hide everything below; `plain` images are painted
    with full opacity, without blend mode and without a soft mask of the graphics state. `paint` is the graphics state
    of the drawing: its instructions, and the resources that they name.
    """

    image: pikepdf.Object
    matrix: Matrix
    clip: Box
    order: int
    container: pikepdf.Object | None
    position: int
    inline: bool
    plain: bool
    paint: "Paint"

    @property
    def key(self) -> tuple[int, int]:
        """The same for every drawing of one image object."""
        return self.image.objgen

    @property
    def is_stencil(self) -> bool:
        return bool(self.image.get("/ImageMask", False))

    @property
    def is_masked(self) -> bool:
        return self.image.get("/SMask") is not None or self.image.get("/Mask") is not None

    @property
    def opaque(self) -> bool:
        return self.plain and not self.is_stencil and not self.is_masked

    @property
    def corners(self) -> np.ndarray:
        """In default user space, (4, 2)."""
        a, b, c, d, e, f = self.matrix
        return np.array([(e, f), (e + a, f + b), (e + a + c, f + b + d), (e + c, f + d)])

    @property
    def bounds(self) -> Box:
        return bounds(self.corners).cut(self.clip)


@dataclass(frozen=True)
class Paint:
    """Colour and graphics-state dictionaries of the non-stroking paint."""

    colour: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # instructions: operator, operands
    space: Any = None  # of a `cs` instruction that names a resource
    states: tuple[pikepdf.Object, ...] = ()

    @property
    def is_white(self) -> bool:
        shown = _device_colour(self)
        return shown is not None and min(shown) > 0.99

    @property
    def is_dark(self) -> bool:
        """True if the paint is known to be darker than a middle grey."""
        shown = _device_colour(self)
        return shown is not None and sum(shown) / 3 < 0.5


@dataclass(frozen=True)
class Text:
    """A string of text: place and height in default user space, printing characters."""

    x: float
    y: float
    height: float
    characters: int
    clip: Box
    order: int


@dataclass(frozen=True)
class Drawing:
    """A painted path or shading: the box around it, and its segments."""

    box: Box
    segments: int
    order: int


@dataclass
class Content:
    """Everything visible that a page paints, except annotations; things that are painted over are listed too."""

    draws: list[Draw] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    forms: list[tuple[int, int]] = field(default_factory=list)  # one entry for each time that a form is drawn
    absent: list[str] = field(default_factory=list)  # names of drawn objects that are not in the file


def bounds(points: np.ndarray) -> Box:
    """Return the box around points (N, 2)."""
    (left, bottom), (right, top) = points.min(0), points.max(0)
    return Box(float(left), float(bottom), float(right), float(top))


def product(first: Matrix, second: Matrix) -> Matrix:
    """Return the matrix of `first`, then `second`."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def inverse(matrix: Matrix) -> Matrix | None:
    """Return the inverse; None for a matrix without one."""
    a, b, c, d, e, f = matrix
    area = a * d - b * c
    if abs(area) < 1e-12:
        return None
    return (d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area)


def moved(point: tuple[float, float], matrix: Matrix) -> tuple[float, float]:
    """Return the point under the matrix."""
    x, y = point
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def _device_colour(paint: Paint) -> tuple[float, float, float] | None:
    """Return red, green and blue in [0, 1]; None for a pattern or a colour of more than one ink."""
    if not paint.colour:
        return (0.0, 0.0, 0.0)
    operator, operands = paint.colour[-1]
    if operator == "cs":
        return (0.0, 0.0, 0.0)
    values = numbers(operands, len(operands))
    if values is None or (paint.space is not None and not _is_plain_space(paint.space)):
        return None
    if len(values) == 1:
        return (values[0],) * 3
    if len(values) == 3:
        return values[0], values[1], values[2]
    if len(values) == 4:
        cyan, magenta, yellow, black = values
        return (1 - cyan) * (1 - black), (1 - magenta) * (1 - black), (1 - yellow) * (1 - black)
    return None


def _is_plain_space(space: Any) -> bool:
    named = space[0] if isinstance(space, pikepdf.Array) and len(space) else space
    return str(named) in ("/DeviceGray", "/DeviceRGB", "/DeviceCMYK", "/CalGray", "/CalRGB", "/ICCBased")

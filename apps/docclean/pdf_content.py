"""What a PDF page draws: images with their matrices, text and vector drawings, in the order of painting."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf_layers import Layers
from fastdiff.apps.docclean.pdf_tree import Box, inherited, is_dictionary, numbers

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
EVERYWHERE = Box(-1e12, -1e12, 1e12, 1e12)
DEEPEST = 16  # forms within forms
MOST_DRAWS = 4_000  # images of a page
MOST_INSTRUCTIONS = 250_000  # of a page, those of a form counted as often as it is drawn
MOST_CONTENT = 16 * 2**20  # bytes of one content stream
UNSEEN = 0.02  # opacity
INVISIBLE_MODES = (3, 7)  # of text
FILLS, STROKES = ("f", "F", "f*"), ("S", "s", "B", "B*", "b", "b*")
COLOURS = ("g", "rg", "k", "cs", "sc", "scn")


class TooLong(Exception):
    """The content is longer than that of any scan."""


@dataclass(frozen=True)
class Draw:
    """An image drawn on a page.

    `image` is the stream of an image object, made of an inline image where `inline`. `matrix` takes the unit square to
    default user space. `position` is the index of the drawing instruction in the content of `container`, a form or,
    where None, the page. `order` counts painted things. `opaque`: what lies below cannot be seen; `plain`: painted with
    full opacity, no blend mode and no soft mask of the graphics state. `paint` is the graphics state that
    the image is drawn with: its instructions, and the resources that they name.
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
        """Default user space, (4, 2)."""
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
        """Whether the paint is known to be darker than a middle grey."""
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
    """Everything visible that a page paints, besides annotations; what is painted over is still listed."""

    draws: list[Draw] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    forms: list[tuple[int, int]] = field(default_factory=list)  # one entry each time that one is drawn


@dataclass(frozen=True)
class _State:
    matrix: Matrix = IDENTITY
    clip: Box = EVERYWHERE
    paint: Paint = Paint()
    opacity: float = 1.0
    plain: bool = True
    mode: int = 0
    font: Any = None
    size: float = 0.0
    leading: float = 0.0


def read_content(pdf: pikepdf.Pdf, page: pikepdf.Object, layers: Layers) -> Content:
    """Follow a page's content. Raises TooLong beyond the limits, and pikepdf's and Python's errors for damage."""
    reader = _Reader(pdf, layers)
    resources = inherited(page, "/Resources")
    reader.run(instructions(page), resources if is_dictionary(resources) else None, None, _State(), ())
    return reader.content


def instructions(container: pikepdf.Object) -> list[Any]:
    """The instructions of a page (a dictionary) or form (a stream)."""
    if isinstance(container, pikepdf.Stream):
        _check_length([container])
        return list(pikepdf.parse_content_stream(container))
    contents = container.get("/Contents")
    if contents is None:
        return []
    streams = contents if isinstance(contents, pikepdf.Array) else [contents]
    _check_length(stream for stream in streams if isinstance(stream, pikepdf.Stream))
    return list(pikepdf.parse_content_stream(pikepdf.Page(container)))


def bounds(points: np.ndarray) -> Box:
    """The box around points (N, 2)."""
    (left, bottom), (right, top) = points.min(0), points.max(0)
    return Box(float(left), float(bottom), float(right), float(top))


def product(first: Matrix, second: Matrix) -> Matrix:
    """The matrix of `first`, then `second`."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def inverse(matrix: Matrix) -> Matrix | None:
    """The inverse, or None of a matrix that has none."""
    a, b, c, d, e, f = matrix
    area = a * d - b * c
    if abs(area) < 1e-12:
        return None
    return (d / area, -b / area, -c / area, a / area, (c * f - d * e) / area, (b * e - a * f) / area)


def _check_length(streams: Iterable[pikepdf.Object]) -> None:
    if sum(len(stream.read_bytes()) for stream in streams) > MOST_CONTENT:
        raise TooLong


class _Reader:
    def __init__(self, pdf: pikepdf.Pdf, layers: Layers) -> None:
        self.content = Content()
        self._pdf, self._layers = pdf, layers
        self._parsed: dict[tuple[int, int], list[Any]] = {}
        self._order = self._done = 0

    def run(
        self,
        program: list[Any],
        resources: Any,
        container: pikepdf.Object | None,
        state: _State,
        above: tuple[tuple[int, int], ...],
    ) -> None:
        """Follow the instructions of a page or form, which is drawn inside the forms `above`."""
        self._done += len(program)
        if self._done > MOST_INSTRUCTIONS:
            raise TooLong
        stack: list[_State] = []
        marked: list[bool] = []  # whether each open marked content is shown
        path = _Path()
        text = line = IDENTITY
        for position, instruction in enumerate(program):
            operator = str(instruction.operator)
            operands = instruction.operands
            if operator == "q":
                stack.append(state)
            elif operator == "Q":
                state = stack.pop() if stack else state
            elif operator == "cm" and (matrix := _matrix(operands)):
                state = replace(state, matrix=product(matrix, state.matrix))
            elif operator in ("BDC", "BMC"):
                marked.append(self._is_shown(operator, operands, resources))
            elif operator == "EMC":
                if marked:
                    marked.pop()
            elif operator == "gs":
                state = _with_state(state, _resource(resources, "/ExtGState", operands))
            elif operator in COLOURS:
                state = replace(state, paint=_coloured(state.paint, operator, operands, resources))
            elif operator in ("m", "l", "c", "v", "y", "re", "h"):
                path.add(operator, operands, state.matrix)
            elif operator in ("W", "W*"):
                path.clips = True
            elif operator in (*FILLS, *STROKES, "n"):
                if operator != "n" and all(marked) and not (operator in FILLS and state.paint.is_white):
                    self._drawing(path, state)
                if path.clips and path.points:
                    state = replace(state, clip=state.clip.cut(path.box))
                path = _Path()
            elif operator == "sh":
                if all(marked):
                    self.content.drawings.append(Drawing(state.clip, 1, self._next()))
            elif operator == "BT":
                text = line = IDENTITY
            elif operator == "Tf" and len(operands) == 2:
                state = replace(state, font=_resource(resources, "/Font", operands[:1]), size=float(operands[1]))
            elif operator == "Tr" and operands:
                state = replace(state, mode=int(operands[0]))
            elif operator == "TL" and operands:
                state = replace(state, leading=float(operands[0]))
            elif operator == "Tm" and (matrix := _matrix(operands)):
                text = line = matrix
            elif operator in ("Td", "TD") and (step := numbers(operands, 2)):
                if operator == "TD":
                    state = replace(state, leading=-step[1])
                text = line = product((1, 0, 0, 1, step[0], step[1]), line)
            elif operator in ("T*", "'", '"'):
                text = line = product((1, 0, 0, 1, 0, -state.leading), line)
            if operator in ("Tj", "TJ", "'", '"') and operands and all(marked):
                self._text(operands[-1], text, state)
            elif operator == "INLINE IMAGE" and all(marked):
                self._image(_inline(self._pdf, operands[0], resources), state, container, position, inline=True)
            elif operator == "Do" and all(marked):
                found = _resource(resources, "/XObject", operands)
                if isinstance(found, pikepdf.Stream) and self._layers.shows(found.get("/OC")):
                    if found.get("/Subtype") == pikepdf.Name.Image:
                        self._image(found, state, container, position, inline=False)
                    elif found.get("/Subtype") == pikepdf.Name.Form:
                        self._form(found, resources, state, above)

    def _form(self, form: pikepdf.Object, resources: Any, state: _State, above: tuple[tuple[int, int], ...]) -> None:
        if form.objgen in above or len(above) >= DEEPEST:
            return
        self.content.forms.append(form.objgen)
        matrix = product(_matrix(form.get("/Matrix")) or IDENTITY, state.matrix)
        corners = numbers(form.get("/BBox"), 4)
        clip = state.clip
        if corners:
            left, bottom, right, top = corners
            square = [(left, bottom), (right, bottom), (right, top), (left, top)]
            clip = clip.cut(bounds(np.array([_moved(point, matrix) for point in square])))
        own = form.get("/Resources")
        if form.objgen not in self._parsed:
            self._parsed[form.objgen] = instructions(form)
        inside = replace(state, matrix=matrix, clip=clip)
        self.run(
            self._parsed[form.objgen], own if is_dictionary(own) else resources, form, inside, (*above, form.objgen)
        )

    def _image(
        self, image: pikepdf.Object, state: _State, container: pikepdf.Object | None, position: int, *, inline: bool
    ) -> None:
        if state.opacity < UNSEEN or inverse(state.matrix) is None:
            return
        if len(self.content.draws) >= MOST_DRAWS:
            raise TooLong
        draw = Draw(
            image, state.matrix, state.clip, self._next(), container, position, inline, state.plain, state.paint
        )
        self.content.draws.append(draw)

    def _drawing(self, path: "_Path", state: _State) -> None:
        if path.points and state.opacity >= UNSEEN:
            self.content.drawings.append(Drawing(path.box.cut(state.clip), path.segments, self._next()))

    def _text(self, shown: Any, text: Matrix, state: _State) -> None:
        parts = shown if isinstance(shown, pikepdf.Array) else [shown]
        raw = b"".join(bytes(part) for part in parts if isinstance(part, pikepdf.String))
        wide = is_dictionary(state.font) and state.font.get("/Subtype") == pikepdf.Name.Type0
        characters = len(raw) // 2 if wide else len(raw.replace(b" ", b""))
        if characters and state.mode not in INVISIBLE_MODES and state.opacity >= UNSEEN:
            whole = product(text, state.matrix)
            x, y = _moved((0.1 * state.size, 0.3 * state.size), whole)
            height = abs(state.size) * float(np.hypot(whole[2], whole[3]))
            self.content.texts.append(Text(x, y, height, characters, state.clip, self._next()))

    def _is_shown(self, operator: str, operands: Any, resources: Any) -> bool:
        if operator == "BMC" or len(operands) != 2 or operands[0] != pikepdf.Name.OC:
            return True
        return self._layers.shows(_resource(resources, "/Properties", operands[1:]))

    def _next(self) -> int:
        self._order += 1
        return self._order


class _Path:
    """The box around a path under construction, its segments, and whether it will clip."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self.segments = 0
        self.clips = False

    def add(self, operator: str, operands: Any, matrix: Matrix) -> None:
        values = numbers(operands, len(operands)) or ()
        if operator == "re" and len(values) == 4:
            x, y, width, height = values
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        else:
            corners = list(zip(values[::2], values[1::2], strict=False))
        self.segments += operator != "m"
        self.points += [_moved(point, matrix) for point in corners]
        if len(self.points) > 64:
            box = self.box
            self.points = [(box.left, box.bottom), (box.right, box.top)]

    @property
    def box(self) -> Box:
        return bounds(np.array(self.points))


def _moved(point: tuple[float, float], matrix: Matrix) -> tuple[float, float]:
    x, y = point
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def _matrix(operands: Any) -> Matrix | None:
    values = numbers(operands, 6) if operands is not None else None
    return values if values is None else (values[0], values[1], values[2], values[3], values[4], values[5])


def _resource(resources: Any, kind: str, operands: Any) -> Any:
    """The resource that the first operand names (an inline dictionary is itself one), or None."""
    if len(operands) < 1 or not isinstance(operands[0], pikepdf.Name):
        return operands[0] if len(operands) and is_dictionary(operands[0]) else None
    table = resources.get(kind) if is_dictionary(resources) else None
    return table.get(str(operands[0])) if is_dictionary(table) else None


def _with_state(state: _State, dictionary: Any) -> _State:
    if not is_dictionary(dictionary):
        return state
    opacity = float(dictionary.get("/ca", state.opacity))
    blend, mask = dictionary.get("/BM"), dictionary.get("/SMask")
    if isinstance(blend, pikepdf.Array):
        blend = blend[0] if len(blend) else None
    plain = opacity > 1 - UNSEEN
    plain &= blend in (None, pikepdf.Name.Normal, pikepdf.Name.Compatible)
    plain &= mask in (None, pikepdf.Name("/None"))
    states = (*state.paint.states, dictionary)
    return replace(state, opacity=opacity, plain=plain, paint=replace(state.paint, states=states))


def _coloured(paint: Paint, operator: str, operands: Any, resources: Any) -> Paint:
    instruction = (operator, tuple(operands))
    if operator in ("sc", "scn"):
        return replace(paint, colour=(*[each for each in paint.colour if each[0] == "cs"], instruction))
    space = _resource(resources, "/ColorSpace", operands) if operator == "cs" else None
    return replace(paint, colour=(instruction,), space=space)


def _device_colour(paint: Paint) -> tuple[float, float, float] | None:
    """Red, green and blue in [0, 1], or None of a pattern or a colour of more than one ink."""
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


def _inline(pdf: pikepdf.Pdf, image: pikepdf.PdfInlineImage, resources: Any) -> pikepdf.Object:
    """An image object with the data of an inline image."""
    made = pdf.make_stream(image.read_raw_bytes())
    for name, value in image.obj.items():
        made[name] = value
    space = made.get("/ColorSpace")
    if isinstance(space, pikepdf.Name):
        made.ColorSpace = _resource(resources, "/ColorSpace", [space]) or space
    made.Type, made.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
    return made

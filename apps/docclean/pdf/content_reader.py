"""Reads the content of a PDF page as viewers do: follows it to the images, texts and drawings that it paints (ISO
32000-1, 8 and 9).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf.optional_content import OptionalContent
from fastdiff.apps.docclean.pdf.page_content import (
    IDENTITY,
    Content,
    Draw,
    Drawing,
    Matrix,
    Paint,
    Text,
    bounds,
    inverse,
    moved,
    product,
)
from fastdiff.apps.docclean.pdf.page_tree import Box, inherited, is_dictionary, numbers

BLACK = Paint()
EVERYWHERE = Box(-1e12, -1e12, 1e12, 1e12)
DEEPEST = 16  # forms within forms
MOST_DRAWS = 4_000  # images of a page
MOST_INSTRUCTIONS = 250_000  # of a page; those of a form count as often as it is drawn
MOST_CONTENT = 16 * 2**20  # bytes of one content stream
UNSEEN = 0.02  # opacity
INVISIBLE_MODES = (3, 7)  # of text
FILLS, STROKES = ("f", "F", "f*"), ("S", "s", "B", "B*", "b", "b*")
PATHS = ("m", "l", "c", "v", "y", "re", "h", "W", "W*")
PLACES = ("BT", "Tm", "Td", "TD", "T*", "'", '"')
SHOWS = ("Tj", "TJ", "'", '"')
COLOURS = ("g", "rg", "k", "cs", "sc", "scn")


class ContentTooLong(Exception):
    """The content is longer than that of any scan."""


@dataclass(frozen=True)
class _State:
    matrix: Matrix = IDENTITY
    clip: Box = EVERYWHERE
    paint: Paint = BLACK
    opacity: float = 1.0
    plain: bool = True
    mode: int = 0
    font: Any = None
    size: float = 0.0
    leading: float = 0.0


def read_content(pdf: pikepdf.Pdf, page: pikepdf.Object, layers: OptionalContent) -> Content:
    """Follow a page's content. Raises ContentTooLong beyond the limits, and errors of pikepdf and Python for damage."""
    reader = _Reader(pdf, layers)
    resources = inherited(page, "/Resources")
    reader.run(instructions(page), resources if is_dictionary(resources) else None, None, _State(), ())
    return reader.content


def instructions(container: pikepdf.Object) -> list[Any]:
    """Return the instructions of a page (a dictionary) or form (a stream)."""
    if isinstance(container, pikepdf.Stream):
        _check_length([container])
        return list(pikepdf.parse_content_stream(container))
    contents = container.get("/Contents")
    if contents is None:
        return []
    streams = contents if isinstance(contents, pikepdf.Array) else [contents]
    _check_length(stream for stream in streams if isinstance(stream, pikepdf.Stream))
    return list(pikepdf.parse_content_stream(pikepdf.Page(container)))


def _check_length(streams: Iterable[pikepdf.Object]) -> None:
    level = pikepdf.StreamDecodeLevel.specialized
    if sum(len(stream.read_bytes(level)) for stream in streams) > MOST_CONTENT:
        raise ContentTooLong


class _Reader:
    def __init__(self, pdf: pikepdf.Pdf, layers: OptionalContent) -> None:
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
            raise ContentTooLong
        stack: list[_State] = []
        marked: list[bool] = []  # True for each open marked content that is shown
        path, text = _Path(), _TextPlace()
        for position, instruction in enumerate(program):
            operator, operands = str(instruction.operator), instruction.operands
            if operator == "q":
                stack.append(state)
            elif operator == "Q":
                state = stack.pop() if stack else state
            elif operator in ("BDC", "BMC"):
                marked.append(self._is_shown(operator, operands, resources))
            elif operator == "EMC":
                marked = marked[:-1]
            elif operator in PATHS:
                path.add(operator, operands, state.matrix)
            elif operator in (*FILLS, *STROKES, "n"):
                if operator != "n" and all(marked) and not (operator in FILLS and state.paint.is_white):
                    self._drawing(path, state)
                state = path.clipped(state)
                path = _Path()
            elif operator in PLACES:
                state = text.move(operator, operands, state)
            else:
                state = _changed(state, operator, operands, resources)
            if all(marked):
                if operator in SHOWS and operands:
                    self._text(operands[-1], text.matrix, state)
                elif operator == "sh":
                    self.content.drawings.append(Drawing(state.clip, 1, self._next()))
                elif operator == "INLINE IMAGE":
                    self._image(_inline(self._pdf, operands[0], resources), state, container, position, inline=True)
                elif operator == "Do":
                    self._object(operands, resources, container, position, state, above)

    def _object(
        self,
        operands: Any,
        resources: Any,
        container: pikepdf.Object | None,
        position: int,
        state: _State,
        above: tuple[tuple[int, int], ...],
    ) -> None:
        found = _resource(resources, "/XObject", operands)
        if isinstance(found, pikepdf.Stream) and self._layers.shows(found.get("/OC")):
            if found.get("/Subtype") == pikepdf.Name.Image:
                self._image(found, state, container, position, inline=False)
            elif found.get("/Subtype") == pikepdf.Name.Form:
                self._form(found, resources, state, above)
        elif not isinstance(found, pikepdf.Stream):
            self.content.absent.append(str(operands[0]) if len(operands) else "an object without a name")

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
            clip = clip.cut(bounds(np.array([moved(point, matrix) for point in square])))
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
            raise ContentTooLong
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
            x, y = moved((0.1 * state.size, 0.3 * state.size), whole)
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
    """The box around a path under construction, its segments, and its use for clipping."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self.segments = 0
        self._clips = False

    def add(self, operator: str, operands: Any, matrix: Matrix) -> None:
        self._clips |= operator in ("W", "W*")
        values = numbers(operands, len(operands)) or ()
        if operator == "re" and len(values) == 4:
            x, y, width, height = values
            corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        else:
            corners = list(zip(values[::2], values[1::2], strict=False))
        self.segments += operator not in ("m", "W", "W*")
        self.points += [moved(point, matrix) for point in corners]
        if len(self.points) > 64:
            box = self.box
            self.points = [(box.left, box.bottom), (box.right, box.top)]

    def clipped(self, state: _State) -> _State:
        """Return the state after the path is painted: cut to it if it is a clipping path."""
        return replace(state, clip=state.clip.cut(self.box)) if self._clips and self.points else state

    @property
    def box(self) -> Box:
        return bounds(np.array(self.points))


class _TextPlace:
    """The text matrix: the place of the next string."""

    def __init__(self) -> None:
        self.matrix = IDENTITY

    def move(self, operator: str, operands: Any, state: _State) -> _State:
        """Follow an operator of PLACES; return the state after it."""
        step = numbers(operands, 2) if operator in ("Td", "TD") else None
        if operator == "BT":
            self.matrix = IDENTITY
        elif operator == "Tm":
            self.matrix = _matrix(operands) or self.matrix
        elif step:
            self.matrix = product((1, 0, 0, 1, step[0], step[1]), self.matrix)
        elif operator in ("T*", "'", '"'):
            self.matrix = product((1, 0, 0, 1, 0, -state.leading), self.matrix)
        return replace(state, leading=-step[1]) if operator == "TD" and step else state


def _matrix(operands: Any) -> Matrix | None:
    values = numbers(operands, 6) if operands is not None else None
    return values if values is None else (values[0], values[1], values[2], values[3], values[4], values[5])


def _resource(resources: Any, kind: str, operands: Any) -> Any:
    """Return the resource that the first operand names (an inline dictionary is itself one), or None."""
    if len(operands) < 1 or not isinstance(operands[0], pikepdf.Name):
        return operands[0] if len(operands) and is_dictionary(operands[0]) else None
    table = resources.get(kind) if is_dictionary(resources) else None
    return table.get(str(operands[0])) if is_dictionary(table) else None


def _changed(state: _State, operator: str, operands: Any, resources: Any) -> _State:
    """Return the state after an operator that only changes the state."""
    if operator == "cm" and (matrix := _matrix(operands)):
        return replace(state, matrix=product(matrix, state.matrix))
    if operator == "gs":
        return _with_state(state, _resource(resources, "/ExtGState", operands))
    if operator in COLOURS:
        return replace(state, paint=_coloured(state.paint, operator, operands, resources))
    if operator == "Tf" and len(operands) == 2:
        return replace(state, font=_resource(resources, "/Font", operands[:1]), size=float(operands[1]))
    if operator == "Tr" and len(operands):
        return replace(state, mode=int(operands[0]))
    if operator == "TL" and len(operands):
        return replace(state, leading=float(operands[0]))
    return state


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


def _inline(pdf: pikepdf.Pdf, image: pikepdf.PdfInlineImage, resources: Any) -> pikepdf.Object:
    """Return an image object with the data of an inline image."""
    made = pdf.make_stream(image.read_raw_bytes())
    for name, value in image.obj.items():
        made[name] = value
    space = made.get("/ColorSpace")
    if isinstance(space, pikepdf.Name):
        made.ColorSpace = _resource(resources, "/ColorSpace", [space]) or space
    made.Type, made.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
    return made

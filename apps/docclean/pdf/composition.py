"""Composes scans in pieces (strips, tiles, layers) to one picture, and cuts the cleaned picture into the pieces."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pikepdf

from fastdiff.apps.docclean.pdf import image_samples
from fastdiff.apps.docclean.pdf.errors import UnsupportedPicture
from fastdiff.apps.docclean.pdf.image_samples import Samples
from fastdiff.apps.docclean.pdf.page_content import Draw, Matrix, bounds, inverse, product
from fastdiff.apps.docclean.pdf.page_tree import Box
from fastdiff.apps.docclean.pdf.pictures import Change, Turn, encode_image, stored_bytes, turn_upright
from fastdiff.apps.docclean.pdf.rendering import render_images
from fastdiff.apps.images.image_document import check_size
from fastdiff.apps.images.page import Page
from fastdiff.solvers.errors import UsageError

COARSE = 0.75  # of the finest piece's resolution: a coarser piece is written at that resolution
EXACT = 0.02  # pixels
PROBES = 7  # points a side that show whether a piece lies inside others
NOTHING = b"\x80"  # one sample of a stencil that paints nothing


@dataclass(frozen=True)
class ComposedPicture:
    """Images that touch or overlap, on a canvas with the axes and the resolution of the finest one.

    After cleaning, each image that carries the scan (an opaque one, or one with no opaque one behind it) gets its part
    of the canvas, and the others paint nothing: only samples change, and the page shows the canvas. Stencils of dark
    ink stay stencils if all images are such.
    """

    pdf: pikepdf.Pdf
    members: tuple[tuple[int, Draw], ...]
    rotation: int
    shared: frozenset[tuple[int, int]]  # keys of images that are shown elsewhere too
    name: str
    marks_below: bool  # text or drawings that an image would hide if it became opaque

    @property
    def megapixels(self) -> float:
        width, height = self._canvas[1]
        return width * height / 1e6

    def page(self) -> Page:
        if self.marks_below and not self._are_stencils and any(not draw.opaque for draw in self._carriers.values()):
            raise UnsupportedPicture(f"{self.name} has a page whose layers hold text between them, which is not known")
        for _, draw in self.members:
            image_samples.decode(draw.image, self.name)
        to_canvas, (width, height) = self._canvas
        pixels = _drawn(
            [draw for _, draw in self.members], self.pdf, to_canvas, (width, height), black=self._are_stencils
        )
        kinds = [self._samples(draw) for draw in self._carriers.values()]
        bilevel = pixels.ndim == 2 and all(
            draw.is_stencil or (kind.bits == 1 and draw.opaque)
            for kind, (_, draw) in zip([self._samples(draw) for _, draw in self.members], self.members, strict=True)
        )
        return Page(self._turn.apply(pixels), bilevel=bilevel, lossy=all(kind.lossy for kind in kinds))

    def changes(self, cleaned: np.ndarray) -> list[Change]:
        canvas = self._turn.undo(cleaned)
        to_canvas = self._canvas[0]
        changes = []
        counted: set[tuple[int, int]] = set()  # images whose bytes are counted once, even if they are drawn twice
        for index, draw in self.members:
            before = 0 if draw.key in counted else stored_bytes(draw.image)
            counted.add(draw.key)
            private = draw.inline or draw.key in self.shared
            if index in self._carriers:
                image = self._slice(draw, canvas, product(draw.matrix, to_canvas))
                opaque = not draw.opaque and not self._are_stencils
                changes.append(Change((index,), image, before=before, opaque=opaque, private=private))
            else:
                changes.append(Change((index,), _nothing(), before=before, opaque=True, private=private))
        return changes

    def _slice(self, draw: Draw, canvas: np.ndarray, matrix: Matrix) -> pikepdf.Pdf:
        samples = self._samples(draw)
        width, height = image_samples.image_size(draw.image, self.name)
        a, b, c, d, _, _ = matrix
        across, up = np.hypot(a, b), np.hypot(c, d)  # canvas pixels
        if width < COARSE * across or height < COARSE * up:
            width, height = max(1, round(across)), max(1, round(up))
        pixels = _cut(canvas, matrix, width, height)
        if samples.pixels.ndim == 2 and pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
            pixels = np.ascontiguousarray(pixels[..., 0])
        if self._are_stencils:
            return encode_image(pixels, draw.image, samples)
        if draw.is_stencil:
            samples = Samples(samples.pixels, None, samples.bits, lossy=pixels.dtype != np.bool_)
        elif samples.pixels.ndim == 3 and pixels.ndim == 2 and samples.space is not None:
            pixels = np.repeat(pixels[..., None] * np.uint8(255 if pixels.dtype == np.bool_ else 1), 3, 2)
        image = encode_image(pixels, draw.image, samples, alike=len(self._carriers) == len(self.members))
        if draw.is_stencil:
            single = image_samples.single_image(image)
            del single.ImageMask
            single.ColorSpace = pikepdf.Name.DeviceGray if pixels.ndim == 2 else pikepdf.Name.DeviceRGB
        return image

    @property
    def _are_stencils(self) -> bool:
        return all(draw.is_stencil and draw.paint.is_dark for _, draw in self.members)

    def _samples(self, draw: Draw) -> Samples:
        return image_samples.decode(draw.image, self.name)

    @cached_property
    def _carriers(self) -> dict[int, Draw]:
        opaque = [draw for _, draw in self.members if draw.opaque]
        chosen = {}
        for index, draw in self.members:
            if draw.opaque or not _lies_inside(draw, opaque):
                if not draw.plain:
                    raise UnsupportedPicture(f"{self.name} has a page of blended layers, which is not known")
                chosen[index] = draw
        return chosen

    @cached_property
    def _canvas(self) -> tuple[Matrix, tuple[int, int]]:
        """The matrix from default user space to the canvas, whose y axis points up, and its width and height."""
        reference = max((draw for _, draw in self.members), key=lambda draw: _fineness(draw, self.name))
        width, height = _finest_size(reference, self.name)
        a, b, c, d, e, f = reference.matrix
        back = inverse((a / width, b / width, c / height, d / height, e, f))
        assert back is not None
        corners = np.concatenate([draw.corners for _, draw in self.members])
        p, q, r, s, t, u = back
        placed = corners @ np.array([(p, q), (r, s)]) + (t, u)
        around = bounds(placed)
        left, bottom = np.floor(around.left + EXACT), np.floor(around.bottom + EXACT)
        size = (
            int(np.ceil(around.right - EXACT) - left),
            int(np.ceil(around.top - EXACT) - bottom),
        )
        check_size(Path(self.name), *size)
        return product(back, (1, 0, 0, 1, -float(left), -float(bottom))), size

    @property
    def _turn(self) -> Turn:
        reference = max((draw for _, draw in self.members), key=lambda draw: _fineness(draw, self.name))
        return turn_upright(reference.matrix, self.rotation)


def needs_composing(draws: Sequence[Draw], name: str) -> bool:
    """True if the images make a picture only together, or one has a mask that is finer than its samples."""
    if len(draws) > 1:
        return True
    with contextlib.suppress(UsageError):  # reported when the picture is read
        return _finest_size(draws[0], name) != image_samples.image_size(draws[0].image, name)
    return False


def _finest_size(draw: Draw, name: str) -> tuple[int, int]:
    sizes = [image_samples.image_size(draw.image, name)]
    for key in ("/SMask", "/Mask"):
        mask = draw.image.get(key)
        if isinstance(mask, pikepdf.Stream):
            sizes.append(image_samples.image_size(mask, name))
    return max(sizes)


def _fineness(draw: Draw, name: str) -> float:
    """Return the pixels per square point."""
    width, height = _finest_size(draw, name)
    a, b, c, d, _, _ = draw.matrix
    return width * height / abs(a * d - b * c)


def _lies_inside(draw: Draw, others: Sequence[Draw]) -> bool:
    steps = np.linspace(0.01, 0.99, PROBES)
    across, up = (axis.ravel() for axis in np.meshgrid(steps, steps))
    a, b, c, d, e, f = draw.matrix
    points = np.stack([a * across + c * up + e, b * across + d * up + f], 1)
    inside = np.zeros(len(points), bool)
    for other in others:
        back = inverse(other.matrix)
        if back is not None:
            p, q, r, s, t, u = back
            placed = points @ np.array([(p, q), (r, s)]) + (t, u)
            inside |= ((placed >= 0) & (placed <= 1)).all(1)
    return bool(inside.all())


def _drawn(
    draws: Sequence[Draw], pdf: pikepdf.Pdf, to_canvas: Matrix, size: tuple[int, int], *, black: bool
) -> np.ndarray:
    """Render the images alone, in the order and with the paint of the page, or in black."""
    images, states, spaces = pikepdf.Dictionary(), pikepdf.Dictionary(), pikepdf.Dictionary()
    content = []
    for number, draw in enumerate(draws):
        images[f"/I{number}"] = draw.image
        content.append("q")
        if draw.bounds != bounds(draw.corners):
            content.append(_clip(draw.bounds, to_canvas))
        for step, state in enumerate(draw.paint.states):
            states[f"/G{number}-{step}"] = state
            content.append(f"/G{number}-{step} gs")
        for operator, operands in draw.paint.colour if draw.is_stencil and not black else ():
            if any(isinstance(operand, pikepdf.Name) for operand in operands) and operator == "scn":
                raise UnsupportedPicture("a page has a stencil painted with a pattern, which is not known")
            if operator == "cs" and draw.paint.space is not None:
                spaces[f"/C{number}"] = draw.paint.space
                content.append(f"/C{number} cs")
            else:
                content.append(" ".join([*map(str, operands), operator]))
        matrix = product(draw.matrix, to_canvas)
        content.append(" ".join(f"{value:.9f}" for value in _whole(matrix)) + f" cm /I{number} Do Q")
    resources = pikepdf.Dictionary(XObject=images, ExtGState=states, ColorSpace=spaces)
    return render_images(pdf, "\n".join(content).encode(), resources, *size)


def _clip(box: Box, to_canvas: Matrix) -> str:
    a, b, c, d, e, f = to_canvas
    corners = [(box.left, box.bottom), (box.right, box.bottom), (box.right, box.top), (box.left, box.top)]
    placed = [f"{a * x + c * y + e:.6f} {b * x + d * y + f:.6f}" for x, y in corners]
    return f"{placed[0]} m {placed[1]} l {placed[2]} l {placed[3]} l h W n"


def _whole(matrix: Matrix) -> tuple[float, ...]:
    """Return the matrix with nearly whole numbers made whole, so that nothing is resampled."""
    return tuple(float(round(value)) if abs(value - round(value)) < EXACT else value for value in matrix)


def _cut(canvas: np.ndarray, matrix: Matrix, width: int, height: int) -> np.ndarray:
    """Return the part of the canvas under an image with this matrix (to the canvas, y up), in its own pixels."""
    a, b, c, d, e, f = _whole(matrix)
    top = canvas.shape[0]
    # the centre of pixel (x, y) lies at ((x + 0.5) / width, 1 - (y + 0.5) / height) in the unit square
    rows = np.array([(a / width, -c / height, e + c), (-b / width, d / height, top - f - d)])
    rows[:, 2] += rows[:, :2].sum(1) / 2 - 0.5
    exact = np.abs(rows - np.rint(rows)).max() < EXACT
    one_bit = canvas.dtype == np.bool_
    source = canvas.astype(np.uint8) * 255 if one_bit else canvas
    border = (255, 255, 255) if source.ndim == 3 else 255
    cut = cv2.warpAffine(
        source,
        np.rint(rows) if exact else rows,
        (width, height),
        flags=(cv2.INTER_NEAREST if exact else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
    return cut > 127 if one_bit else cut


def _nothing() -> pikepdf.Pdf:
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(72, 72))
    image = pdf.make_stream(NOTHING)
    image.Type, image.Subtype, image.ImageMask = pikepdf.Name.XObject, pikepdf.Name.Image, True
    image.Width = image.Height = image.BitsPerComponent = 1
    page.obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
    return pdf

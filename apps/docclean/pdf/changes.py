"""Changes to the images of a PDF page: stored in a file until the output is put together, then applied."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pikepdf

from fastdiff.apps.docclean.pdf import image_samples
from fastdiff.apps.docclean.pdf.content_reader import instructions
from fastdiff.apps.docclean.pdf.page_content import Content, Draw
from fastdiff.apps.docclean.pdf.page_tree import inherited, is_dictionary
from fastdiff.apps.docclean.pdf.pictures import Change

MASKS = ("/SMask", "/Mask")


def save_changes(changes: Sequence[Change], path: Path) -> None:
    """Write the changes of one page to a file."""
    with pikepdf.new() as pdf:
        pdf.Root.Changes = pikepdf.Array()
        for change in changes:
            entry = pikepdf.Dictionary(Draws=pikepdf.Array(change.draws), Opaque=change.opaque, Private=change.private)
            entry.Image = pdf.copy_foreign(image_samples.single_image(change.image))
            if change.mask is not None:
                entry.Mask = pdf.copy_foreign(image_samples.single_image(change.mask))
            pdf.Root.Changes.append(entry)
        pdf.save(path, compress_streams=False, stream_decode_level=pikepdf.StreamDecodeLevel.none)


@contextmanager
def read_changes(path: Path) -> Iterator[list[Change]]:
    """Yield the changes that `save_changes` wrote, usable inside the block."""
    with pikepdf.open(path) as pdf:
        yield [
            Change(
                tuple(int(draw) for draw in entry.Draws),
                _single(entry.Image),
                mask=_single(entry.Mask) if "/Mask" in entry else None,
                opaque=bool(entry.Opaque),
                private=bool(entry.Private),
            )
            for entry in pdf.Root.Changes
        ]


def apply_changes(pdf: pikepdf.Pdf, page: pikepdf.Object, content: Content, changes: Sequence[Change]) -> None:
    """Replace images that a page draws, whose `content` is given, by new ones."""
    redrawn: dict[tuple[int, int] | None, dict[int, pikepdf.Object]] = {}
    containers: dict[tuple[int, int] | None, pikepdf.Object] = {}
    for change in changes:
        draws = [content.draws[index] for index in change.draws]
        if change.private:
            image = _own_image(pdf, draws[0], change)
            for draw in draws:
                key = None if draw.container is None else draw.container.objgen
                containers[key] = page if draw.container is None else draw.container
                redrawn.setdefault(key, {})[draw.position] = image
        else:
            _write(pdf, draws[0].image, change)
    for key, images in redrawn.items():
        _redraw(pdf, containers[key], page, images)


def _own_image(pdf: pikepdf.Pdf, draw: Draw, change: Change) -> pikepdf.Object:
    """Return a new image object with the entries of the drawn one, and new samples."""
    image = pdf.make_stream(b"")
    for name, value in draw.image.items():
        if name not in ("/Length", "/StructParent"):
            image[name] = value
    _write(pdf, image, change)
    return image


def _write(pdf: pikepdf.Pdf, image: pikepdf.Object, change: Change) -> None:
    new = image_samples.single_image(change.image)
    space: Any = image.get("/ColorSpace")
    for name in (*image_samples.SAMPLES, *(MASKS if change.opaque else ())):
        if name in image:
            del image[name]
    for name in image_samples.SAMPLES:
        if name in new:
            image[name] = image_samples.direct(new[name])
    if "/ColorSpace" not in new and "/ImageMask" not in new:
        one_bit = int(new.get("/BitsPerComponent", 8)) == 1
        image.ColorSpace = space[1] if image_samples.is_palette(space) and not one_bit else space
    if change.mask is not None:
        image.Mask = pdf.copy_foreign(image_samples.single_image(change.mask))
    filters: Any = image.get("/Filter")
    parameters: Any = image.get("/DecodeParms")
    image.write(new.read_raw_bytes(), filter=filters, decode_parms=parameters)


def _redraw(
    pdf: pikepdf.Pdf, container: pikepdf.Object, page: pikepdf.Object, images: dict[int, pikepdf.Object]
) -> None:
    """Draw other images at these positions of the content of a page or form, and remove those that are not drawn any
    more.
    """
    program = instructions(container)
    before = _drawn(program)
    own = container.get("/Resources")
    given: Any = own if is_dictionary(own) else inherited(page, "/Resources")
    resources = pikepdf.Dictionary(dict(given.items())) if is_dictionary(given) else pikepdf.Dictionary()
    known: Any = resources.get("/XObject")
    resources.XObject = pikepdf.Dictionary(dict(known.items())) if is_dictionary(known) else pikepdf.Dictionary()
    for position, image in images.items():
        name = _unused(resources.XObject)
        resources.XObject[name] = image
        program[position] = pikepdf.ContentStreamInstruction([pikepdf.Name(name)], pikepdf.Operator("Do"))
    if not any(_takes_resources_from_outside(each) for each in resources.XObject.values()):
        for name in before - _drawn(program):
            if name in resources.XObject:
                del resources.XObject[name]
    container.Resources = resources
    data = pikepdf.unparse_content_stream(program)
    if isinstance(container, pikepdf.Stream):
        container.write(data)
    else:
        container.Contents = pdf.make_stream(data)


def _drawn(program: list[Any]) -> set[str]:
    """Return the names of drawn objects."""
    return {str(each.operands[0]) for each in program if str(each.operator) == "Do" and len(each.operands)}


def _takes_resources_from_outside(drawn: Any) -> bool:
    """True for a form that names its objects in the resources of the page around it."""
    return drawn.get("/Subtype") == pikepdf.Name.Form and "/Resources" not in drawn


def _unused(table: pikepdf.Dictionary) -> str:
    number = len(table)
    while f"/Im{number}" in table:
        number += 1
    return f"/Im{number}"


def _single(image: pikepdf.Object) -> pikepdf.Pdf:
    single = pikepdf.new()
    page = single.add_blank_page(page_size=(72, 72))
    page.obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=single.copy_foreign(image)))
    return single

"""Detects the signatures of a PDF, which forbid changing it."""

from typing import Any

import pikepdf

from fastdiff.apps.docclean.pdf.page_tree import is_dictionary, page_objects

MOST_FIELDS = 100_000


def is_signed(pdf: pikepdf.Pdf) -> bool:
    """True if a signature field (also of a timestamp) has a value, or the file grants usage rights or a certification.

    Looks at the fields that the form lists, and at those that only a page shows.
    """
    permissions = pdf.Root.get("/Perms")
    if is_dictionary(permissions) and any(name in permissions for name in ("/DocMDP", "/UR", "/UR3")):
        return True
    form = pdf.Root.get("/AcroForm")
    waiting: list[tuple[Any, Any]] = []  # fields, and the type that they inherit
    if is_dictionary(form) and isinstance(form.get("/Fields"), pikepdf.Array):
        waiting = [(field, None) for field in form.Fields]
    for page in page_objects(pdf, MOST_FIELDS):
        shown = None if page is None else page.get("/Annots")
        waiting += [(field, None) for field in shown] if isinstance(shown, pikepdf.Array) else []
    seen: set[tuple[int, int]] = set()
    while waiting and len(seen) < MOST_FIELDS:
        field, kind = waiting.pop()
        if not is_dictionary(field) or (field.is_indirect and field.objgen in seen):
            continue
        seen.add(field.objgen)
        kind = field.get("/FT", kind)
        if kind == pikepdf.Name.Sig and is_dictionary(field.get("/V")):
            return True
        kids = field.get("/Kids")
        waiting += [(kid, kind) for kid in kids] if isinstance(kids, pikepdf.Array) else []
    return False

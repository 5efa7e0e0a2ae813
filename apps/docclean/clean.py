"""One document from input to output: clean its pages, judge each, put the result together."""

import hashlib
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fastdiff.apps import atomic, encode, ledger
from fastdiff.apps.batch import Tick
from fastdiff.apps.docclean.document import (
    SUFFIXES,
    Document,
    PictureDocument,
    UnsupportedPicture,
    open_document,
)
from fastdiff.apps.docclean.options import Options
from fastdiff.apps.docclean.report import PageReport, Status, joined
from fastdiff.apps.images import open_images
from fastdiff.apps.inputs import Item
from fastdiff.apps.ledger import Ledger
from fastdiff.apps.page import Page
from fastdiff.solvers.errors import FastdiffError, UsageError

BROKEN_SIGNATURE = "the signature of the file is broken by this change"


class Cleaner:
    """Cleans documents with one restorer and one OCR engine, which are loaded once."""

    def __init__(self, options: Options) -> None:
        from fastdiff.apps.docclean.enhance import Enhancer
        from fastdiff.apps.docclean.scoring import Scorer

        self._options = options
        self._fingerprint = options.fingerprint()
        self._enhance = Enhancer(
            task=options.task,
            device=options.device,
            dtype=options.dtype,
            solver=options.solver,
            calls=options.calls,
            seed=options.seed,
            weights=options.weights,
            solver_file=options.solver_file,
        )
        self._score = Scorer(options.ocr, options.truth, options.device)

    def __call__(self, item: Item, tick: Tick) -> list[PageReport]:
        """Clean one document and write its output; the reports of its pages, in order.

        A page that fails is left as it is where the output allows it, and reported. Raises FastdiffError where the
        document cannot be read or its output not written.
        """
        content = ledger.file_digest(item.source)
        book = ledger_of(item, content, self._fingerprint)
        with open_document(item.source) as document:
            self._check_signatures(item, document)
            outputs = output_names(item.output, document.count)
            book.open(outputs, force=self._options.force)
            reports: list[PageReport] = []
            for index in range(document.count):
                done = book.record(index)
                if done:
                    report = PageReport(**done)
                elif isinstance(document, PictureDocument) and _keeps_kind(item, document):
                    report = self._picture_page(item, document, index, reports, book, content)
                else:
                    report = self._page(item, document, index, outputs, book, content)
                reports.append(report)
                tick((index + 1) / document.count)
            with ExitStack() as stack:
                drafts = {target: stack.enter_context(atomic.draft(target)) for target in outputs}
                assemble(document, item.source, [book.part(index) for index in range(document.count)], drafts)
                final = all(report.status != "failed" for report in reports)
                book.publish(drafts, [asdict(report) for report in reports], final=final)
        return reports

    def _page(
        self, item: Item, document: Document, index: int, outputs: list[Path], book: Ledger, content: str
    ) -> PageReport:
        """Clean page `index`, keep it as a part where it differs from the input, and note that in the ledger."""
        began = time.monotonic()
        kind = SUFFIXES[item.output.suffix.lower()]
        same_kind = _keeps_kind(item, document)  # then a page that is not cleaned needs no part
        output = outputs[index] if len(outputs) > 1 else outputs[0]
        shown = document.untouched(index)
        why = f"a page of {shown}: passed through untouched" if shown else None
        report = PageReport(str(item.source), index + 1, str(output), status="kept", reason=why, untouched=shown)
        if not (why and same_kind):
            try:
                page = document.page(index)
                if not why:
                    page, report = self._clean(page, report, item.source.stem, index, noise_key(content, index))
            except FastdiffError as error:
                if document.count == 1 or not same_kind:
                    raise
                return replace(report, status="failed", reason=str(error))
            if report.status == "cleaned" or not same_kind:
                with atomic.writing(item.output):
                    save_part(page, book.part(index), kind)
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        book.keep(index, asdict(report))
        return report

    def _picture_page(
        self,
        item: Item,
        document: PictureDocument,
        index: int,
        reports: list[PageReport],
        book: Ledger,
        content: str,
    ) -> PageReport:
        """Clean the pictures of page `index`, keep their changes as a part, and note that in the ledger.

        `reports` are those of the pages before, some of whose pictures this page may show.
        """
        from fastdiff.apps.docclean.pdf_changes import save_changes
        from fastdiff.apps.docclean.pdf_pictures import size_remark

        began = time.monotonic()
        shown = document.untouched(index)
        why = f"a page of {shown}: passed through untouched" if shown else None
        report = PageReport(str(item.source), index + 1, str(item.output), status="kept", reason=why, untouched=shown)
        changes, found = [], []
        try:
            for number, picture in enumerate(document.pictures(index) if not why else ()):
                key = noise_key(content, index, number)
                page, told = self._clean(picture.page(), report, item.source.stem, index, key)
                found.append(told)
                if told.status == "cleaned":
                    changes += picture.changes(page.pixels)
        except UnsupportedPicture as error:
            changes, found = [], [replace(report, reason=str(error))]
        except FastdiffError as error:
            if document.count == 1:
                raise
            return replace(report, status="failed", reason=str(error))
        found += [_shared(report, reports[earlier]) for earlier in document.earlier(index)]
        report = joined(found) if found else report
        if changes:
            with atomic.writing(item.output):
                save_changes(changes, book.part(index))
            broken = BROKEN_SIGNATURE if document.is_signed else None
            said = [report.reason, size_remark(changes), broken]
            report = replace(report, reason="; ".join(filter(None, said)) or None)
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        book.keep(index, asdict(report))
        return report

    def _check_signatures(self, item: Item, document: Document) -> None:
        if not isinstance(document, PictureDocument) or not _keeps_kind(item, document):
            return
        if document.is_signed and not self._options.break_signatures:
            raise UsageError(
                f"{item.source.name} is signed, and cleaning it would break the signature: give --break-signatures"
            )

    def _clean(self, page: Page, report: PageReport, stem: str, index: int, key: int) -> tuple[Page, PageReport]:
        """The page to write and its report: the cleaned page, or the given one where that was judged better."""
        enhanced = self._enhance(page.pixels, key)
        compared = self._score.compare(page.pixels, enhanced.pixels, stem, index)
        untouched = enhanced.task == "none"
        cleaned = not untouched and (compared.accept or self._options.force_clean)
        verdict = "already clean" if untouched else None if compared.accept else compared.reason
        said = [page.note if cleaned else None, compared.note, verdict]
        report = replace(
            report,
            task=enhanced.task,
            task_reason=enhanced.task_reason,
            status="cleaned" if cleaned else "kept",
            reason="; ".join(filter(None, said)) or None,
            engine=compared.engine,
            calls=enhanced.calls,
            **compared.measures,
        )
        if not cleaned:
            return page, report
        pixels = enhanced.pixels
        if page.bilevel and pixels.dtype != np.bool_:  # what had one bit a pixel keeps one
            pixels = pixels > np.iinfo(pixels.dtype).max // 2
        profile = None if pixels.dtype == np.bool_ else page.icc
        return replace(page, pixels=pixels, icc=profile), report


def _keeps_kind(item: Item, document: Document) -> bool:
    return document.kind == SUFFIXES[item.output.suffix.lower()]


def _shared(report: PageReport, earlier: PageReport) -> PageReport:
    """The report of a picture that was cleaned, or kept, with an earlier page."""
    status: Status = "cleaned" if earlier.status == "cleaned" else "kept"
    return replace(report, status=status, reason=f"its picture is that of page {earlier.page}")


def ledger_of(item: Item, content: str, fingerprint: str) -> Ledger:
    """The ledger of an item whose input has the digest `content`, under options of this fingerprint."""
    return Ledger(item.output, item.source, ledger.digest(content, item.output.suffix, fingerprint))


def output_names(output: Path, count: int) -> list[Path]:
    """`output`, or one numbered file a page where its kind holds a single page."""
    if count == 1 or SUFFIXES[output.suffix.lower()] in ("pdf", "tiff"):
        return [output]
    return [output.with_name(f"{output.stem}-{number:04d}{output.suffix}") for number in range(1, count + 1)]


def noise_key(content: str, index: int, picture: int = 0) -> int:
    """The name of a page's noise, from what the document holds: other inputs of a run never change a result."""
    name = f"{content} {index} {picture}" if picture else f"{content} {index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])


def save_part(page: Page, path: Path, kind: str) -> None:
    """Write a page as the part of an output of `kind`, without loss but for the final encoding itself."""
    if kind == "pdf":
        from fastdiff.apps.docclean import pdf_writer

        pdf_writer.save_part(page, path)
    else:
        encode.save(page, path, kind)


def read_part(path: Path) -> Page:
    """A page that `save_part` wrote for an image or TIFF output; a single bit stays one."""
    with open_images(path) as document:
        page = document.page(0)
    return replace(page, pixels=page.pixels > 0) if page.bilevel else page


def assemble(document: Document, source: Path, parts: list[Path], drafts: Mapping[Path, Path]) -> None:
    """Put the parts together into the drafts of the outputs; where a part is absent, the input's page stands."""
    (output, draft), *_ = drafts.items()
    kind = SUFFIXES[output.suffix.lower()]
    there = {index: part for index, part in enumerate(parts) if part.exists()}
    if not there:
        shutil.copyfile(source, draft)
    elif kind == "pdf":
        from fastdiff.apps.docclean import pdf_writer

        if isinstance(document, PictureDocument):
            document.replace_pictures(there, draft)
        else:
            pdf_writer.from_images(parts, draft)
    elif kind == "tiff":
        for index in range(document.count):
            encode.append_tiff(read_part(there[index]) if index in there else document.page(index), draft)
    else:
        for part, each in zip(parts, drafts.values(), strict=True):
            shutil.copyfile(part, each)

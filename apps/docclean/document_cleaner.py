"""Cleans one document from input to output: its pages one by one, then the output of all parts."""

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fastdiff.apps.docclean.document import (
    SUFFIXES,
    Document,
    PictureDocument,
    open_document,
)
from fastdiff.apps.docclean.identity import fingerprint
from fastdiff.apps.docclean.ocr.text_metrics import truth_file
from fastdiff.apps.docclean.options import Options
from fastdiff.apps.docclean.pdf.errors import UnsupportedPicture
from fastdiff.apps.docclean.report import WRITTEN, PageReport, Status, join_reports, read_page_report
from fastdiff.apps.images import encoding
from fastdiff.apps.images.image_document import ImageDocument
from fastdiff.apps.images.metadata_transfer import DEEP_KINDS, ONE_BIT_KINDS, lost_metadata
from fastdiff.apps.images.page import Page, one_bit
from fastdiff.apps.running import atomic, output_manifest
from fastdiff.apps.running.batch import Tick
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.solvers.errors import FastdiffError, UsageError

BROKEN_SIGNATURE = "the signature of the file is broken by this change"


class DocumentCleaner:
    """Cleans documents with one page cleaner, whose networks and OCR engine are loaded once."""

    def __init__(self, options: Options) -> None:
        from fastdiff.apps.docclean.ocr.engines import load_engine
        from fastdiff.apps.docclean.page_cleaner import PageCleaner
        from fastdiff.apps.docclean.restoration.page_restorer import PageRestorer

        self._options = options
        self._fingerprint = fingerprint(options)
        restore = PageRestorer(
            task=options.task,
            device=options.device,
            dtype=options.dtype,
            solver=options.solver,
            calls=options.calls,
            seed=options.seed,
            weights=options.weights,
            solver_file=options.solver_file,
        )
        self._clean_pixels = PageCleaner(
            restore,
            load_engine(options.ocr, options.device),
            trust_digits=options.trust_digits,
            force_clean=options.force_clean,
            truth=options.truth,
        )

    def __call__(self, item: Item, tick: Tick) -> list[PageReport]:
        """Clean one document, write its output, and return the reports of its pages in order.

        A page that fails is reported and stays as it is, if the output allows that. Raises FastdiffError if the
        document cannot be read or its output not written.
        """
        content = output_manifest.file_digest(item.source)
        manifest = manifest_of(item, content, self._fingerprint, self._options)
        with open_document(item.source) as document:
            self._check_signatures(item, document)
            outputs = output_names(item.output, document.count)
            if outputs != list(item.outputs):
                raise UsageError(f"{item.source.name} changed while this run was going on: run again")
            manifest.open(outputs)
            reports: list[PageReport] = []
            for index in range(document.count):
                done = manifest.record(index)
                if done:
                    report = read_page_report(done)
                elif isinstance(document, PictureDocument) and _keeps_kind(item, document):
                    report = self._picture_page(item, document, index, reports, manifest, content)
                else:
                    report = self._page(item, document, index, outputs, manifest, content)
                reports.append(report)
                tick((index + 1) / document.count)
            with manifest.drafts(outputs) as drafts:
                assemble(document, item.source, [manifest.part(index) for index in range(document.count)], drafts)
                final = all(report.status != "failed" for report in reports)
                manifest.publish(drafts, [asdict(report) for report in reports], final=final)
        return reports

    def _page(
        self, item: Item, document: Document, index: int, outputs: list[Path], manifest: OutputManifest, content: str
    ) -> PageReport:
        """Clean page `index`, store it as a part if it differs from the input, and record it in the manifest."""
        began = time.monotonic()
        kind = SUFFIXES[item.output.suffix.lower()]
        same_kind = _keeps_kind(item, document)  # if so, a page that is not cleaned needs no part
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
            if report.status in WRITTEN or not same_kind:
                report = replace(report, reason=_joined(page.note, _conversion_note(page, kind), report.reason))
                page = one_bit(page)  # a page of one bit a pixel keeps one bit
                with atomic.writing(item.output):
                    save_part(page, manifest.part(index), kind)
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        manifest.keep(index, asdict(report))
        return report

    def _picture_page(
        self,
        item: Item,
        document: PictureDocument,
        index: int,
        reports: list[PageReport],
        manifest: OutputManifest,
        content: str,
    ) -> PageReport:
        """Clean the pictures of page `index`, store their changes as a part, and record them in the manifest.

        `reports` are those of the pages before, some of whose pictures this page may show.
        """
        from fastdiff.apps.docclean.pdf.changes import save_changes
        from fastdiff.apps.docclean.pdf.pictures import size_remark

        began = time.monotonic()
        shown = document.untouched(index)
        why = f"a page of {shown}: passed through untouched" if shown else None
        report = PageReport(str(item.source), index + 1, str(item.output), status="kept", reason=why, untouched=shown)
        changes, found = [], []
        try:
            for number, picture in enumerate(document.pictures(index) if not why else ()):
                key = noise_key(content, index, number)
                page, cleaned = self._clean(picture.page(), report, item.source.stem, index, key)
                found.append(cleaned)
                if cleaned.status in WRITTEN:
                    changes += picture.changes(one_bit(page).pixels)
        except UnsupportedPicture as error:
            changes, found = [], [replace(report, reason=str(error))]
        except FastdiffError as error:
            if document.count == 1:
                raise
            return replace(report, status="failed", reason=str(error))
        found += [_shared(report, reports[earlier]) for earlier in document.earlier(index)]
        report = join_reports(found) if found else report
        if changes:
            with atomic.writing(item.output):
                save_changes(changes, manifest.part(index))
            broken = BROKEN_SIGNATURE if document.is_signed else None
            report = replace(report, reason=_joined(report.reason, size_remark(changes), broken))
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        manifest.keep(index, asdict(report))
        return report

    def _check_signatures(self, item: Item, document: Document) -> None:
        if not isinstance(document, PictureDocument) or not _keeps_kind(item, document):
            return
        if document.is_signed and not self._options.break_signatures:
            raise UsageError(
                f"{item.source.name} is signed, and cleaning it would break the signature: give --break-signatures"
            )

    def _clean(self, page: Page, report: PageReport, stem: str, index: int, key: int) -> tuple[Page, PageReport]:
        """Return the page to write, cleaned or as given, and its report."""
        made = self._clean_pixels(page.pixels, key, stem, index)
        report = replace(
            report,
            task=made.task,
            task_reason=made.task_reason,
            status=made.status,
            reason=_joined(made.note, made.reason),
            engine=made.engine,
            calls=made.calls,
            regions=made.regions,
            recovered=made.recovered,
            **made.measures,
        )
        if made.status not in WRITTEN:
            return page, report
        binarized = made.pixels.dtype == np.bool_ and not page.bilevel
        return replace(page, pixels=made.pixels, icc=None if binarized else page.icc), report


def _joined(*sentences: str | None) -> str | None:
    return "; ".join(filter(None, sentences)) or None


def _conversion_note(page: Page, kind: str) -> str | None:
    names = lost_metadata(page, kind)
    became = "its 16 bits a channel became 8" if page.pixels.dtype == np.uint16 and kind not in DEEP_KINDS else None
    if page.pixels.dtype == np.bool_ and kind not in ONE_BIT_KINDS:
        became = f"its one bit a pixel became 8: {kind} holds no less"
    return _joined(became, f"not carried over of its metadata: {', '.join(names)}" if names else None)


def _keeps_kind(item: Item, document: Document) -> bool:
    return document.kind == SUFFIXES[item.output.suffix.lower()]


def _shared(report: PageReport, earlier: PageReport) -> PageReport:
    """Return the report of a picture that was cleaned, or kept, with an earlier page."""
    status: Status = earlier.status if earlier.status in WRITTEN else "kept"
    return replace(report, status=status, reason=f"its picture is that of page {earlier.page}")


def manifest_of(item: Item, content: str, made_with: str, options: Options) -> OutputManifest:
    """Return the manifest entry of an item whose input has the digest `content`, under options with the fingerprint
    `made_with`.

    The true text of the input counts by its content. Raises UsageError if it cannot be read.
    """
    truth = truth_file(options.truth, item.source.stem) if options.truth else None
    true = (truth.suffix, output_manifest.file_digest(truth)) if truth else None
    key = output_manifest.digest(content, item.output.suffix, made_with, true)
    return OutputManifest(item.output, item.source, key, item.request, options.force)


def output_names(output: Path, count: int) -> list[Path]:
    """Return `output`, or one numbered file for each page if its kind holds a single page."""
    if count == 1 or holds_pages(output):
        return [output]
    return [output.with_name(f"{output.stem}-{number:04d}{output.suffix}") for number in range(1, count + 1)]


def holds_pages(output: Path) -> bool:
    """True if a file of this kind holds any number of pages."""
    return SUFFIXES[output.suffix.lower()] in ("pdf", "tiff")


def noise_key(content: str, index: int, picture: int = 0) -> int:
    """Return the seed of a page's noise, from the content of its document: other inputs never change a result."""
    name = f"{content} {index} {picture}" if picture else f"{content} {index}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])


def save_part(page: Page, path: Path, kind: str) -> None:
    """Write a page as a part of an output of `kind`, without loss except for the final encoding."""
    if kind == "pdf":
        from fastdiff.apps.docclean.pdf import writer

        writer.save_part(page, path)
    else:
        encoding.save(page, path, kind)


def assemble(document: Document, source: Path, parts: list[Path], drafts: Mapping[Path, Path]) -> None:
    """Put the parts together into the drafts of the outputs. A page without a part is copied from the input."""
    (output, draft), *_ = drafts.items()
    kind = SUFFIXES[output.suffix.lower()]
    there = {index: part for index, part in enumerate(parts) if part.exists()}
    if not there:
        shutil.copyfile(source, draft)
    elif kind == "pdf":
        from fastdiff.apps.docclean.pdf import writer

        if isinstance(document, PictureDocument):
            document.replace_pictures(there, draft)
        else:
            writer.from_images(parts, draft)
    elif kind == "tiff":
        from fastdiff.apps.docclean import tiff_writer

        if isinstance(document, ImageDocument) and document.kind == "tiff":
            tiff_writer.replace_pages(document, there, draft)
        else:
            tiff_writer.from_parts(there, draft)
    else:
        for part, each in zip(parts, drafts.values(), strict=True):
            shutil.copyfile(part, each)

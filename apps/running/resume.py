"""Resumes an earlier run: takes over finished outputs, and makes the others."""

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from fastdiff.apps.running import batch, output_manifest
from fastdiff.apps.running.inputs import Item
from fastdiff.apps.running.output_manifest import OutputManifest
from fastdiff.solvers.errors import FastdiffError

Value = TypeVar("Value")


def finished(
    items: Sequence[Item],
    manifest_of: Callable[[Item, str], OutputManifest],
    *,
    force: bool,
    still_valid: Callable[[Item, list[dict[str, Any]]], bool] | None = None,
) -> dict[Item, list[dict[str, Any]]]:
    """Return the items whose outputs an earlier run finished, with their records; none if the work is forced.

    `manifest_of` gets an item and the digest of its input. `still_valid` gets an item and its records; if it returns
    False, the item counts as not finished.
    """
    found = {}
    for item in items if not force else ():
        with contextlib.suppress(FastdiffError):  # the loop over the items reports it
            records = manifest_of(item, output_manifest.file_digest(item.source)).finished()
            if records and (still_valid is None or still_valid(item, records)):
                found[item] = records
    return found


def run(
    items: Sequence[Item],
    done: Mapping[Item, Value],
    setup: batch.Setup,
    options: Hashable,
    failed: Callable[[batch.Outcome], Value],
    *,
    jobs: int = 1,
    watch: batch.Watch | None,
    pool: batch.Pool | None = None,
) -> tuple[dict[Item, Value], int]:
    """Return the value of every item, and the exit code; items that are not done go through `batch.run`.

    `failed` makes a value of a failed outcome. `setup` is called only if work is left.
    """
    waiting = [item for item in items if item not in done]
    outcomes = batch.run(waiting, setup, options, jobs=jobs, watch=watch, pool=pool) if waiting else []
    made = {outcome.item: outcome.value or failed(outcome) for outcome in outcomes}
    return {**done, **made}, batch.exit_code([*outcomes, *map(batch.Outcome, done)])

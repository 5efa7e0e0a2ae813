"""The applications: name -> its line in `fastdiff --help`.

An application NAME is the package `fastdiff.apps.NAME`, whose `Options` and `run` do the work, and the command of the
module `fastdiff.cli.NAME`. Both are imported on use.
"""

APPS = {
    "docclean": "Clean scanned or photographed pages, and score them with OCR.",
    "edit": "Edit pictures by prompts that describe them before and after.",
    "attack": "Attack a classifier with natural-looking changes, and report how it breaks.",
}

"""Cleans scanned or photographed pages: see `app.run`.

`app` plans a run and calls `document_cleaner`, which opens a `document` and gives each page to `page_cleaner`:
`restoration` runs the networks, `guard` and `content_protection` put content back, `ocr` reads and judges. `imaging`
holds the image processing that all of them use, `pdf` the reading and writing of PDF files.
"""

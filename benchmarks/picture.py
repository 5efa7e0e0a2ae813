"""The picture at the top of README: the sample pages above their cleaned versions.

python -m benchmarks.picture OUTPUTS PICTURE, after `fastdiff docclean data/samples --out OUTPUTS`.
"""

import sys
from pathlib import Path

from PIL import Image

SAMPLES = Path("data/samples")
PAGES = ("letter.png", "memo.png", "notice.jpg")
CROP = (560, 330)  # pixels of each page in the picture
FROM = (30, 30)
GAP = 8


def main(outputs: Path, picture: Path) -> None:
    width, height = CROP
    sheet = Image.new("RGB", (len(PAGES) * (width + GAP) - GAP, 2 * height + GAP), "grey")
    for column, name in enumerate(PAGES):
        for row, folder in enumerate((SAMPLES, outputs)):
            page = Image.open(folder / name).convert("RGB")
            piece = page.crop((*FROM, FROM[0] + width, FROM[1] + height))
            sheet.paste(piece, (column * (width + GAP), row * (height + GAP)))
    sheet.save(picture, quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

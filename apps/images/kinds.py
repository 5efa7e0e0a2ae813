"""The kinds of image files: their suffixes, and the kinds written in place of kinds that are only read."""

IMAGE_SUFFIXES = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".jpe": "jpg",
    ".jfif": "jpg",
    ".webp": "webp",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".heic": "heic",
    ".heif": "heic",
    ".avif": "avif",
    ".jp2": "jp2",
    ".jpx": "jp2",
    ".j2k": "j2k",
    ".j2c": "j2k",
    ".ppm": "ppm",
    ".pgm": "pgm",
    ".pbm": "pbm",
    ".pnm": "pnm",
    ".gif": "gif",
}
REPLACED = {".gif": ".png"}  # GIF holds 256 colours, too few for a cleaned page

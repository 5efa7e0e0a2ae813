"""The colours that the words of backgrounds stand for, as the scenes that trained the bundled model have them."""

COLOURS = {
    "red": (214, 40, 40), "orange": (245, 130, 32), "yellow": (250, 212, 50), "green": (56, 160, 70),
    "teal": (22, 140, 140), "blue": (40, 90, 210), "purple": (124, 58, 180), "pink": (246, 150, 190),
    "brown": (125, 80, 45), "gray": (140, 144, 150), "black": (24, 24, 28), "white": (248, 248, 248),
}  # fmt: skip

"""The colours. Those that carry meaning are Okabe and Ito's, which colour-blind players tell apart.

Source: M. Okabe and K. Ito, "Color Universal Design", 2008.
"""

Colour = tuple[int, int, int]

ORANGE: Colour = (230, 159, 0)
SKY: Colour = (86, 180, 233)
GREEN: Colour = (0, 158, 115)
YELLOW: Colour = (240, 228, 66)
BLUE: Colour = (0, 114, 178)
VERMILLION: Colour = (213, 94, 0)
PURPLE: Colour = (204, 121, 167)

WHITE: Colour = (245, 246, 250)
GREY: Colour = (128, 136, 160)
NIGHT: Colour = (12, 14, 26)
FIELD: Colour = (24, 28, 48)
EDGE: Colour = (58, 66, 104)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour that lies `share` (0 to 1) of the way from `a` to `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue

"""The colours. Those that carry meaning are Okabe and Ito's, which colour-blind players tell apart, and some of our own.

Theirs are made for charts: in a few pixels, orange comes close to its neighbours yellow and vermillion, and purple to blue
and grey. Where such colours meet, ours take their place.

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

AMBER: Colour = (222, 140, 0)
RED: Colour = (186, 60, 16)
PINK: Colour = (252, 146, 172)

WHITE: Colour = (245, 246, 250)
GREY: Colour = (128, 136, 160)
SLATE: Colour = (84, 88, 102)
NIGHT: Colour = (12, 14, 26)
FIELD: Colour = (24, 28, 48)
EDGE: Colour = (58, 66, 104)

DISTINCT = (SKY, GREEN, YELLOW, AMBER, RED, PINK, WHITE, BLUE)
"""Any two lie at least 15 apart (CIEDE2000), and as far from the dark colours; also without the cones for red or green."""


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour that lies `share` (0 to 1) of the way from `a` to `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue

"""Pictures of the reference players on a line: SVG, readable on light and dark pages."""

import html
from collections.abc import Sequence

from popgym_arcade.scores import Reference

# From what needs nothing to what sees everything; colours that the colour-blind tell apart (M. Okabe and K. Ito). Rings and
# dots of different sizes are seen where they lie on each other, too.
COLOURS = {
    "random": "#7f7f7f",
    "blind": "#56b4e9",
    "memoryless": "#0072b2",
    "memory": "#009e73",
    "expert": "#e69f00",
}
_RADII = {"blind": 7, "memoryless": 4.5, "memory": 5.5}
_RING = 8.5
_WIDTH, _LEFT, _ROW, _TOP = 720, 150, 34, 30
_FIRST, _LAST = -1.0, 1.0
_INK = "#808080"


def lines(rows: Sequence[tuple[str, dict[str, Reference]]]) -> str:
    """Draw a line for each row, (label, players by name), and what memory is worth on it: a page's picture, as SVG."""
    height = _TOP + _ROW * len(rows) + 22
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        "<title>Mean returns of the reference players</title>",
    ]
    for number, name in enumerate(COLOURS):
        x = _LEFT + 8 + number * 112
        parts += [_dot(x, 12, name), f'<text x="{x + 13}" y="16.5" fill="{_INK}">{name}</text>']
    bottom = _TOP + _ROW * len(rows)
    for mark in (-1, -0.5, 0, 0.5, 1):
        x = _place(mark)
        parts.append(f'<path d="M{x:g} {_TOP}V{bottom}" stroke="{_INK}" stroke-opacity=".3"/>')
        parts.append(_label(x, bottom + 16, f"{mark:g}"))
    for number, (label, players) in enumerate(rows):
        y = _TOP + _ROW * (number + 0.5)
        floor = _place(max(players["blind"].mean, players["memoryless"].mean))
        reach = _place(players["memory"].mean)
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4.5:g}" fill="{_INK}" text-anchor="end">{html.escape(label)}</text>')
        parts.append(f'<path d="M{_place(_FIRST):g} {y:g}H{_place(_LAST):g}" stroke="{_INK}"/>')
        parts.append(f'<path d="M{floor:g} {y:g}H{reach:g}" stroke="{COLOURS["memory"]}" stroke-width="7" opacity=".35"/>')
        for name in COLOURS:
            told = f"{label}, {name}: {players[name].mean:.3f}"
            parts.append(_dot(_place(players[name].mean), y, name, told))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _place(value: float) -> float:
    return round(_LEFT + 14 + (value - _FIRST) / (_LAST - _FIRST) * (_WIDTH - _LEFT - 34), 1)


def _label(x: float, y: float, text: str) -> str:
    signed = text.replace("-", "\N{MINUS SIGN}")
    return f'<text x="{x:g}" y="{y:g}" fill="{_INK}" text-anchor="middle">{signed}</text>'


def _dot(x: float, y: float, name: str, told: str = "") -> str:
    title = f"<title>{html.escape(told)}</title>" if told else ""
    look = f'r="{_RING}" fill="none" stroke="{COLOURS[name]}" stroke-width="2.5"'
    if name in _RADII:
        look = f'r="{_RADII[name]}" fill="{COLOURS[name]}" stroke="#fff" stroke-width="1"'
    return f'<circle cx="{x:g}" cy="{y:g}" {look}>{title}</circle>'

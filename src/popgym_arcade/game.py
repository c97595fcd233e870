"""All that a game is written with, in one import: rules, chance and the screen. See docs/your-own-game.md."""

from popgym_arcade import sampling
from popgym_arcade.environment import (
    LEVELS,
    NO_OP,
    Action,
    Environment,
    Glimpse,
    Params,
    State,
    Transition,
    percent,
    pytree,
    start_fields,
    survival,
)
from popgym_arcade.graphics import Gauge, Grid, Layer, Patch, Readout, Rod, Screen, Slider, font, palette, shapes

__all__ = [
    "LEVELS",
    "NO_OP",
    "Action",
    "Environment",
    "Gauge",
    "Glimpse",
    "Grid",
    "Layer",
    "Params",
    "Patch",
    "Readout",
    "Rod",
    "Screen",
    "Slider",
    "State",
    "Transition",
    "font",
    "palette",
    "percent",
    "pytree",
    "sampling",
    "shapes",
    "start_fields",
    "survival",
]

"""Pixels. Art is rasterised in NumPy once per environment, frames are put together in JAX at every step."""

from popgym_arcade.graphics import font, palette, shapes
from popgym_arcade.graphics.motion import Gauge, Rod, Slider
from popgym_arcade.graphics.screen import Grid, Layer, Patch, Readout, Screen

__all__ = ["Gauge", "Grid", "Layer", "Patch", "Readout", "Rod", "Screen", "Slider", "font", "palette", "shapes"]

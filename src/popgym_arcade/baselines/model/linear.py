"""Linear maps of many rows."""

import equinox as eqx
from jaxtyping import Array, Float32


def linear(layer: eqx.nn.Linear, x: Float32[Array, "*n inputs"]) -> Float32[Array, "*n outputs"]:
    """Map rows by one product. `jax.vmap(layer)` multiplies columns from the left, whose results a CPU has to transpose."""
    assert layer.bias is not None
    return x @ layer.weight.T + layer.bias

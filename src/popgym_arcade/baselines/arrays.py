"""Arrays by dtype and shape, for annotations; docs/architecture.md says what the names of dimensions mean."""

from jaxtyping import Array, Float32, Key, UInt8, UInt32

Frames = UInt8[Array, "T S S 3"] | Float32[Array, "T S S 3"]
"""What networks look at: pixels in 0..255, or in [0, 1] to differentiate by them."""
Keys = Key[Array, "N"] | UInt32[Array, "N _"]
"""A JAX random key, new-style or old-style, for each environment."""

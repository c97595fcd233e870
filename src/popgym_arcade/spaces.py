"""The two spaces the games need, with gymnax's names and calls."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0 to n - 1."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an element, ()."""
        return ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an element, int32."""
        return np.dtype(np.int32)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an element uniformly: int32[]."""
        return jax.random.randint(key, (), 0, self.n, jnp.int32)

    def contains(self, x: ArrayLike) -> jax.Array:
        """Whether `x` is an integer scalar of the space: bool[]."""
        x = jnp.asarray(x)
        if x.shape != () or not jnp.issubdtype(x.dtype, jnp.integer):
            return jnp.asarray(False)
        return (x >= 0) & (x < self.n)


@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of one shape and dtype with every entry between `low` and `high`, both included."""

    low: float
    high: float
    shape: tuple[int, ...]
    dtype: DTypeLike

    def sample(self, key: jax.Array) -> jax.Array:
        """Draw an element with uniform, independent entries."""
        if jnp.issubdtype(self.dtype, jnp.integer):
            return jax.random.randint(key, self.shape, int(self.low), int(self.high) + 1).astype(self.dtype)
        return jax.random.uniform(key, self.shape, self.dtype, self.low, self.high)

    def contains(self, x: ArrayLike) -> jax.Array:
        """Whether `x` has the shape and dtype of the space, and its entries the range: bool[]."""
        x = jnp.asarray(x)
        if x.shape != self.shape or x.dtype != self.dtype:
            return jnp.asarray(False)
        return jnp.all((x >= self.low) & (x <= self.high))

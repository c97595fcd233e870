"""Uniform choices from words of random bits, cheap enough for a fresh start of every environment at every step.

Under `vmap` the start of a next episode is computed whether it is needed or not, so a game draws all the words it needs
with one call of `words` and uses each of them once. There are no sorts and no loops here.
"""

import jax
import jax.numpy as jnp
import numpy as np


def words(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Draw random words of 32 bits, uint32[shape]."""
    return jax.random.bits(key, shape, jnp.uint32)  # by default they would have 64 where jax_enable_x64 is set


def below(bits: jax.Array, n: jax.Array | int) -> jax.Array:
    """Map a random word, uint32[], to an integer from 0 to n - 1, int32[], for n up to 65,536.

    Every value is met with probability 1/n, up to 2**-32.
    """
    n = jnp.asarray(n, jnp.uint32)
    high, low = bits >> 16, bits & 0xFFFF
    return ((high * n + (low * n >> 16)) >> 16).astype(jnp.int32)


def choose(bits: jax.Array, allowed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Choose one of the cells that are True in `allowed`, bool[rows, cols], all equally likely.

    Args:
        bits: a random word, uint32[].
        allowed: the cells to choose from; at least one must be True.

    Returns:
        (row, col), int32[] both.
    """
    rows = _running_sum(jnp.sum(allowed, 1))
    rank = below(bits, rows[-1].astype(jnp.uint32)).astype(jnp.float32)
    row = jnp.sum(rows <= rank)
    earlier = jnp.max(jnp.where(rows <= rank, rows, 0))
    line = jnp.any(allowed & (jnp.arange(len(allowed)) == row)[:, None], 0)
    col = jnp.sum(_running_sum(line) <= rank - earlier)
    return row.astype(jnp.int32), col.astype(jnp.int32)


def shuffled_deck(bits: jax.Array, suits: int) -> jax.Array:
    """Shuffle a deck of cards: int8[cards], the suit of each, all orders equally likely.

    Args:
        bits: a random word for each card, uint32[cards], at most 128 of them.
        suits: how many there are. Each has equally many cards; where that does not divide, the first have one more.
    """
    # The ranks of random numbers are a random permutation. Their last bits are the card's own number: no two are equal.
    cards = len(bits)
    tags = (bits & np.uint32(0xFFFFFF80)) | jnp.arange(cards, dtype=jnp.uint32)
    ranks = jnp.sum(tags[:, None] > tags[None, :], 1, dtype=jnp.uint8)
    return (ranks % suits).astype(jnp.int8)


def _running_sum(counts: jax.Array) -> jax.Array:
    # A product with a triangle of ones, exact for such small numbers, beats XLA's scans on every processor.
    triangle = np.triu(np.ones((len(counts), len(counts)), np.float32))
    return counts.astype(jnp.float32) @ triangle

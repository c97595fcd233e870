"""Uniform choices from words of random bits, cheap enough for a fresh start of every environment at every step.

Under `vmap` the start of a next episode is computed whether it is needed or not, so a game draws all the words it needs
with one call of `words` and uses each of them once. There are no sorts and no loops here.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def words(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Draw random words of 32 bits, uint32[shape]."""
    # XLA compiles whole vectors up to three times faster on CPUs.
    count = math.prod(shape)
    padded = count if count < 4 else -(-count // 8) * 8
    drawn = jax.random.bits(key, (padded,), jnp.uint32)  # by default they would have 64 bits where jax_enable_x64 is set
    return drawn[:count].reshape(shape)


def below(bits: jax.Array, n: jax.Array | int) -> jax.Array:
    """Map a random word, uint32[], to an integer from 0 to n - 1, int32[], for n up to 65,536.

    Every value is met with probability 1/n, up to 2**-32.
    """
    n = jnp.asarray(n, jnp.uint32)
    high, low = bits >> 16, bits & 0xFFFF
    return ((high * n + (low * n >> 16)) >> 16).astype(jnp.int32)


def pack(cells: jax.Array) -> jax.Array:
    """Write the rows of a board, bool[rows, cols], as words, uint32[rows]: column c is bit c.

    Raises:
        ValueError: if there are more than 32 columns.
    """
    if cells.shape[1] > 32:
        raise ValueError(f"a row of a board has at most 32 columns, got {cells.shape[1]}")
    return jnp.sum(jnp.where(cells, _bits(cells.shape[1])[None, :], np.uint32(0)), 1, dtype=jnp.uint32)


def unpack(lines: jax.Array, cols: int) -> jax.Array:
    """Read the first `cols` columns from the rows of a board, uint32[rows]: bool[rows, cols]."""
    return lines[:, None] & _bits(cols)[None, :] != 0


@functools.partial(jax.jit, static_argnames="cols")  # traced once where it is called often
def choose(bits: jax.Array, lines: jax.Array, cols: int) -> tuple[jax.Array, jax.Array]:
    """Choose one of the set cells of a board, all equally likely.

    Args:
        bits: a random word, uint32[].
        lines: the rows of the board, uint32[rows], see `pack`; at least one bit must be set.
        cols: how many columns it has, at most 32.

    Returns:
        (row, col), int32[] both.
    """
    # Sums of scalars: under `vmap` one loop on CPUs, one kernel elsewhere, where sums over arrays would be many.
    counts = lax.population_count(lines)
    seen = list(itertools.accumulate(counts[row] for row in range(len(lines))))  # down to the end of each row
    rank = below(bits, seen[-1]).astype(jnp.uint32)
    passed = [cells <= rank for cells in seen]
    line, earlier = lines[0], jnp.uint32(0)
    for row in range(1, len(lines)):
        line = jnp.where(passed[row - 1], lines[row], line)
        earlier = jnp.where(passed[row - 1], seen[row - 1], earlier)
    in_line = [lax.population_count(line & np.uint32((2 << col) - 1)) <= rank - earlier for col in range(cols)]
    row, col = (sum((flag.astype(jnp.int32) for flag in flags), jnp.int32(0)) for flags in (passed, in_line))
    return row, col


def fold(place: Callable[[Any, Any], Any], start: Any, each: Any) -> Any:
    """Place things one by one, such as ships on a board: `place(placed, one)` returns what lies there then.

    Args:
        place: keeps the shapes and dtypes of what it is given.
        start: what lies there first, a pytree of arrays.
        each: what is placed, a pytree of arrays with one axis more, along which it is taken apart.
    """
    count = len(jax.tree.leaves(each)[0])

    def loop() -> Any:
        return lax.scan(lambda placed, one: (place(placed, one), None), start, each)[0]

    def unrolled() -> Any:
        return functools.reduce(place, (jax.tree.map(lambda leaf, i=i: leaf[i], each) for i in range(count)), start)

    # Unrolled, a CPU would compute each turn anew for each cell that depends on it; a GPU would wait between turns.
    return lax.platform_dependent(cpu=loop, default=unrolled)


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


def _bits(count: int) -> np.ndarray:
    return np.uint32(1) << np.arange(count, dtype=np.uint32)

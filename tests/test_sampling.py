import collections

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import sampling
from popgym_arcade.environments import board
from tests.environments.contract import assert_distributed

_below = jax.jit(sampling.below)
_choose = jax.jit(lambda word, allowed: sampling.choose(word, sampling.pack(allowed), allowed.shape[1]))


@hypothesis.settings(deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 65_536))
def test_below_is_the_exact_product(word: int, n: int) -> None:
    assert _below(jnp.uint32(word), n) == word * n >> 32


@hypothesis.settings(deadline=None)
@hypothesis.given(st.integers(0, 2**32 - 1), hypothesis.extra.numpy.arrays(bool, (6, 9)))
def test_choose_finds_the_cell_of_its_rank(word: int, allowed: np.ndarray) -> None:
    hypothesis.assume(allowed.any())
    row, col = _choose(jnp.uint32(word), allowed)
    cells = np.argwhere(allowed)
    assert (row, col) == tuple(cells[word * len(cells) >> 32])


def test_choose_is_uniform() -> None:
    allowed = np.random.default_rng(0).random((5, 32)) < 0.25
    words = jax.random.bits(jax.random.key(0), (20_000,))
    rows, cols = jax.vmap(_choose, in_axes=(0, None))(words, allowed)
    counts = collections.Counter(zip(np.asarray(rows).tolist(), np.asarray(cols).tolist(), strict=True))
    assert set(counts) == set(map(tuple, np.argwhere(allowed).tolist()))
    assert_distributed(np.array(list(counts.values())))


@pytest.mark.parametrize("shape", [(), (1,), (9,), (2, 26)])
def test_words_are_those_of_jax(shape: tuple[int, ...]) -> None:
    key = jax.random.key(3)
    words = sampling.words(key, shape)
    assert words.dtype == jnp.uint32 and np.array_equal(words, jax.random.bits(key, shape, jnp.uint32))


def test_boards_of_words() -> None:
    cells = np.random.default_rng(0).random((7, 32)) < 0.5
    lines = sampling.pack(jnp.asarray(cells))
    assert lines.dtype == jnp.uint32
    assert lines.tolist() == [sum(1 << int(col) for col in np.flatnonzero(row)) for row in cells]
    assert np.array_equal(sampling.unpack(lines, 32), cells)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.tuples(st.integers(-1, 11), st.integers(-1, 11)), st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_rectangles(corner: tuple[int, int], size: tuple[int, int]) -> None:
    expected = np.zeros((14, 14), bool)
    expected[tuple(slice(1 + first, 1 + first + length) for first, length in zip(corner, size, strict=True))] = True
    assert np.array_equal(sampling.unpack(board.rectangle(corner, size, 12), 12), expected[1:-1, 1:-1])


def test_both_ways_to_place_things_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a loop, as on CPUs, and unrolled, as elsewhere."""

    def lay(free: jax.Array, word: jax.Array) -> jax.Array:
        return free & ~board.rectangle(sampling.choose(word, free, 8), (1, 1), 8)

    words = jax.random.bits(jax.random.key(4), (7,))
    looped = sampling.fold(lay, jnp.full(8, 255, jnp.uint32), words)
    monkeypatch.setattr(sampling.lax, "platform_dependent", lambda *, cpu, default: default())
    unrolled = sampling.fold(lay, jnp.full(8, 255, jnp.uint32), words)
    assert np.array_equal(looped, unrolled) and np.sum(jax.lax.population_count(unrolled)) == 57


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.lists(st.sampled_from([0, 127, 128, 2**31, 2**32 - 1]), min_size=26, max_size=26), st.integers(1, 5))
def test_decks_are_complete_whatever_the_bits(words: list[int], suits: int) -> None:
    """Also where many random words are the same."""
    deck = sampling.shuffled_deck(jnp.array(words, jnp.uint32), suits)
    assert deck.dtype == jnp.int8
    assert np.array_equal(np.sort(deck), np.sort(np.arange(26) % suits))

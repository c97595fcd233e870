import collections

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import sampling
from tests.environments.contract import assert_distributed

_below = jax.jit(sampling.below)
_choose = jax.jit(sampling.choose)


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
    allowed = np.random.default_rng(0).random((5, 7)) < 0.5
    rows, cols = jax.vmap(lambda word: sampling.choose(word, jnp.asarray(allowed)))(
        jax.random.bits(jax.random.key(0), (20_000,))
    )
    counts = collections.Counter(zip(np.asarray(rows).tolist(), np.asarray(cols).tolist(), strict=True))
    assert set(counts) == set(map(tuple, np.argwhere(allowed).tolist()))
    assert_distributed(np.array(list(counts.values())))


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(st.lists(st.sampled_from([0, 127, 128, 2**31, 2**32 - 1]), min_size=26, max_size=26), st.integers(1, 5))
def test_decks_are_complete_whatever_the_bits(words: list[int], suits: int) -> None:
    """Also where many random words are the same."""
    deck = sampling.shuffled_deck(jnp.array(words, jnp.uint32), suits)
    assert deck.dtype == jnp.int8
    assert np.array_equal(np.sort(deck), np.sort(np.arange(26) % suits))

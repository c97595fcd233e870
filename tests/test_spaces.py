import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.spaces import Box, Discrete


def test_discrete() -> None:
    space = Discrete(5)
    assert (space.n, space.shape, space.dtype) == (5, (), np.int32)
    samples = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 2_000))
    assert samples.dtype == np.int32
    assert np.all(np.bincount(np.asarray(samples), minlength=5) > 300)
    assert np.all(jax.vmap(space.contains)(samples))
    for wrong in (-1, 5, 2.0, np.zeros(1, np.int32), True):
        assert not space.contains(wrong)
    assert jax.jit(space.contains)(jnp.int32(4))


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 255, np.uint8), (-1.0, 2.0, np.float32)])
def test_box(low: float, high: float, dtype: type) -> None:
    space = Box(low, high, (64, 3), dtype)
    sample = space.sample(jax.random.key(0))
    assert (sample.shape, sample.dtype) == ((64, 3), dtype)
    assert space.contains(sample)
    assert sample.min() < low + 0.1 * (high - low)
    assert sample.max() > high - 0.1 * (high - low)
    assert not space.contains(sample[:1])
    assert not space.contains(sample.astype(np.int32))


def test_box_has_bounds() -> None:
    space = Box(0, 1, (2,), np.float32)
    assert space.contains(np.ones(2, np.float32))
    assert not space.contains(np.array([0, 1.5], np.float32))


def test_spaces_compare_by_value() -> None:
    assert Discrete(5) == Discrete(5) != Discrete(4)
    assert Box(0, 255, (2,), np.uint8) == Box(0, 255, (2,), np.uint8)

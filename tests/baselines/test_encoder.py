"""The encoders against XLA's own convolutions and pools, at any size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.model.encoder import (
    ConvEncoder,
    KeypointEncoder,
    PatchEncoder,
    as_convolution,
    as_product,
    see_at_once,
    see_in_blocks,
)
from popgym_arcade.baselines.model.linear import linear
from popgym_arcade.baselines.model.memory import count_parameters

SMALL: Any = {
    ConvEncoder: {"channels": (4, 4, 4), "features": 6},
    PatchEncoder: {"width": 4, "features": 6},
    KeypointEncoder: {"width": 1, "layout": 3},
}
of_each_encoder = pytest.mark.parametrize("make", list(SMALL))


def frames(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3), np.uint8)


def reference(encoder: Any, obs: np.ndarray) -> jax.Array:
    """The paper's network, word for word: convolution, leaky ReLU, max-pool."""
    x = jnp.asarray(obs, jnp.float32) / 255
    layout = ("NHWC", "HWIO", "NHWC")
    for convolution, pool, stride in zip(encoder.convolutions, (2, 2, 3), (2, 2, 1), strict=True):
        x = jax.lax.conv_general_dilated(x, convolution.weight, (2, 2), "VALID", dimension_numbers=layout)
        x = jax.nn.leaky_relu(x + convolution.bias)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, pool, pool, 1), (1, stride, stride, 1), "VALID")
    weight = encoder.project.weight.T[None, None]
    x = jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID", dimension_numbers=layout) + encoder.project.bias
    assert x.shape[1:3] == (1, 1)
    return jax.nn.leaky_relu(x[:, 0, 0])


def test_conv_encoder_is_the_papers_network() -> None:
    """Values and gradients; frames of noise have no ties, where gradients may differ."""
    encoder, obs = ConvEncoder(128, jax.random.key(0), channels=(8, 16, 24), features=32), frames(128)
    weights = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)

    def loss(encoder: ConvEncoder, obs: Any, see: Any) -> jax.Array:
        return jnp.sum(see(encoder, obs) * weights)

    ours = jax.jit(jax.value_and_grad(lambda encoder, obs: loss(encoder, obs, lambda encoder, obs: encoder(obs))))
    theirs = jax.jit(jax.value_and_grad(lambda encoder, obs: loss(encoder, obs, reference)))
    for a, b in zip(jax.tree.leaves(ours(encoder, obs)), jax.tree.leaves(theirs(encoder, obs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "channels"), [(128, 5, 3), (31, 3, 4), (7, 3, 5), (8, 3, 2), (9, 5, 1)])
def test_a_convolution_is_a_product(size: int, kernel: int, channels: int) -> None:
    """The way of CPUs and that of other devices, here both on a CPU."""
    random = np.random.default_rng(size)
    x = jnp.asarray(random.normal(size=(2, size, size, channels)), jnp.float32)
    weight = jnp.asarray(random.normal(size=(kernel, kernel, channels, 6)), jnp.float32)
    bias = jnp.asarray(random.normal(size=6), jnp.float32)
    np.testing.assert_allclose(as_product(x, weight, bias), as_convolution(x, weight, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [64, 67])
def test_keypoints_and_layout(size: int) -> None:
    """Against XLA's convolutions, whose stride is their kernel, and a softmax channel by channel in NumPy."""
    encoder, obs = KeypointEncoder(size, jax.random.key(0), width=5, layout=7), frames(size)
    x = jnp.asarray(obs, jnp.float32) / 255
    x = jnp.pad(x, ((0, 0), (0, -size % 16), (0, -size % 16), (0, 0)))
    maps = []
    for layer, side in ((encoder.embed, x.shape[1] // 16), (encoder.merge, 4)):
        assert layer.bias is not None
        weight = layer.weight.reshape(-1, side, side, x.shape[-1]).transpose(1, 2, 3, 0)
        x = jax.lax.conv_general_dilated(x, weight, (side, side), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.leaky_relu(x + layer.bias)
        maps.append(np.asarray(x, np.float64))
    expected = [np.asarray(jax.nn.leaky_relu(linear(encoder.project, x.reshape(2, -1))))]
    channels = maps[0].transpose(0, 3, 1, 2)
    expected.append(channels.max((2, 3)) - channels.mean((2, 3)))
    weights = np.exp((channels - channels.mean((2, 3), keepdims=True)) / np.sqrt(channels.var((2, 3), keepdims=True) + 1e-4))
    weights /= weights.sum((2, 3), keepdims=True)
    middles = np.arange(16) * 4 / 15 - 2  # from the first row or column of patches at -2 to the last at 2
    places = np.stack([weights.sum(3) @ middles, weights.sum(2) @ middles], -1)
    expected.append(places.reshape(2, -1))
    np.testing.assert_allclose(encoder(jnp.asarray(obs)), np.concatenate(expected, 1), rtol=1e-4, atol=1e-5)


def test_blocks_change_nothing() -> None:
    """Values and gradients of many frames, a rest among them, as on a CPU and as elsewhere."""
    encoder, obs = KeypointEncoder(64, jax.random.key(0), width=4, layout=6), jnp.asarray(frames(64, 7))
    weights = np.random.default_rng(0).normal(size=(7, encoder.features)).astype(np.float32)

    def values_and_gradients(see: Any) -> Any:
        def both(encoder: KeypointEncoder) -> Any:
            features, pull_back = jax.vjp(lambda encoder: see(encoder, obs), encoder)
            return features, pull_back(weights)

        return jax.jit(both)(encoder)

    here, elsewhere = values_and_gradients(see_in_blocks), values_and_gradients(see_at_once)
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(elsewhere), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_keypoint_follows_its_object() -> None:
    """A bright square, one patch large: the channel that it excites most says where it is."""
    encoder = KeypointEncoder(64, jax.random.key(1))
    squares = np.zeros((16, 64, 64, 3), np.uint8)
    for i in range(16):
        squares[i, 4 * i : 4 * i + 4, 60 - 4 * i : 64 - 4 * i] = 255
    features = np.asarray(encoder(jnp.asarray(squares)))
    height, place = features[:, -96:-64], features[:, -64:].reshape(16, 32, 2)
    best = place[:, height[0].argmax()]
    assert np.all(np.diff(best[:, 0]) > 0.2) and np.all(np.diff(best[:, 1]) < -0.2)
    np.testing.assert_allclose(height[:, height[0].argmax()], height[0].max(), rtol=1e-5)


@of_each_encoder
@pytest.mark.parametrize("size", [64, 100, 128, 511, 512])
def test_any_size(make: Any, size: int) -> None:
    encoder, obs = make(size, jax.random.key(0), **SMALL[make]), frames(size)
    see = jax.jit(lambda encoder, obs: encoder(obs))
    features = see(encoder, obs)
    assert features.shape == (2, encoder.features) == (2, 6) and features.dtype == jnp.float32
    assert np.all(np.isfinite(features)) and not np.array_equal(features[0], features[1])
    changed = obs.copy()
    changed[0, : size // 2, : size // 2] ^= 128  # no frame sees the other
    other = see(encoder, changed)
    assert np.array_equal(features[1], other[1])
    assert not np.array_equal(features[0], other[0])


def test_the_conv_encoder_sees_the_same_picture_at_any_size() -> None:
    small = np.asarray(jax.image.resize(frames(16)[:1] / 255, (1, 128, 128, 3), "linear"), np.float32)
    seen = [
        np.asarray(
            ConvEncoder(size, jax.random.key(0), channels=(8, 16, 32))(jax.image.resize(small, (1, size, size, 3), "linear"))
        )
        for size in (64, 128, 256, 300)
    ]
    for features in seen:
        assert np.corrcoef(features[0], seen[1][0])[0, 1] > 0.99


@of_each_encoder
@pytest.mark.parametrize("size", [64, 128])
def test_bytes_are_scaled_once(make: Any, size: int) -> None:
    encoder, obs = make(size, jax.random.key(0), **SMALL[make]), frames(size)
    unit = (obs / 255.0).astype(np.float32)
    np.testing.assert_allclose(encoder(jnp.asarray(obs)), encoder(jnp.asarray(unit)), rtol=1e-5, atol=1e-6)
    by_pixels = jax.jit(jax.grad(lambda unit: encoder(unit).sum()))(unit)
    assert np.all(np.isfinite(by_pixels)) and np.any(by_pixels)


def test_parameter_counts() -> None:
    shapes = {
        size: jax.eval_shape(lambda key, size=size: ConvEncoder(size, key), jax.random.key(0)) for size in (64, 128, 512)
    }
    assert {count_parameters(encoder) for encoder in shapes.values()} == {505_472}
    assert count_parameters(jax.eval_shape(lambda key: PatchEncoder(64, key), jax.random.key(0))) == 407_088
    assert count_parameters(jax.eval_shape(lambda key: KeypointEncoder(64, key), jax.random.key(0))) == 83_648


@pytest.mark.usefixtures("unchecked")
@of_each_encoder
def test_bad_arguments(make: Any) -> None:
    key = jax.random.key(0)
    for size, error in ((63, ValueError), (513, ValueError), (128.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"obs_size must be (an int )?from 64 to 512"):
            make(size, key)
    for name in SMALL[make]:
        with pytest.raises(ValueError, match=rf"{name}.* must be at least 1"):
            make(64, key, **{name: (1, 0, 1) if name == "channels" else 0})
    encoder = make(64, key)
    with pytest.raises(ValueError, match=r"shape \[T, 64, 64, 3\], got \[1, 2, 64, 64, 3\]; for a batch use jax.vmap"):
        encoder(jnp.zeros((1, 2, 64, 64, 3), jnp.uint8))
    with pytest.raises(ValueError, match=r"got \[2, 128, 128, 3\]"):
        encoder(jnp.asarray(frames(128)))
    with pytest.raises(TypeError, match=r"frames must be uint8, or float32 in \[0, 1\], got int32"):
        encoder(jnp.zeros((1, 64, 64, 3), jnp.int32))

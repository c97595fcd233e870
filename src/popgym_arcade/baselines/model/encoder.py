"""From frames to features: the paper's convolutional network, and a small one for CPUs.

Parameters start as those of `equinox.nn` do, uniform within 1 / sqrt(fan-in) of zero, as in the paper's code.
"""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray, Shaped, UInt8

from popgym_arcade import checks
from popgym_arcade.baselines.arrays import Frames
from popgym_arcade.baselines.model.linear import linear
from popgym_arcade.environment import checked_obs_size

Pixels = UInt8[Array, "T height width inputs"] | Float32[Array, "T height width inputs"]
"""What convolutions look at."""


class Encoder(eqx.Module):
    """Base class of encoders: frames to features.

    Raises:
        TypeError: if `obs_size` is not an int; when traced, if frames are neither uint8 nor float32.
        ValueError: if `obs_size` is not in 64..512 or another size not positive; when traced, if frames have another shape.
    """

    obs_size: eqx.AbstractVar[int]
    """Height and width of the frames in pixels."""
    features: eqx.AbstractVar[int]
    """The number of features of a frame."""

    @abc.abstractmethod
    def __call__(self, obs: Frames) -> Float32[Array, "T F"]:
        """Look at frames, each for itself.

        Args:
            obs: uint8[T, S, S, 3], which the encoder scales to [0, 1]; or float32 of that shape, taken as being in [0, 1]
                already, to differentiate by pixels.

        Returns:
            the features, float32[T, F].
        """


class ConvEncoder(Encoder):
    """The convolutional network of the paper (arXiv 2503.01450) at 128 px.

    Convolutions 5x5 stride 2, 3x3 stride 2 and 3x3 stride 2 without padding, each followed by a max-pool (2x2, 2x2, 3x3)
    and leaky ReLU; one 1x1 and leaky ReLU. With the default sizes 505,472 parameters and 512 features. Frames of other
    sizes are resampled to 128 px first (linear, antialiased), so the network and its cost stay the same: what was learnt
    about a picture holds at any size.

    Args:
        obs_size: height and width of the frames in pixels, 64 to 512.
        key: one JAX random key.
        channels: the widths of the three convolutions.
        features: the width of the last one, the number of features.
    """

    convolutions: tuple["_Convolution", ...]
    project: eqx.nn.Linear
    obs_size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self, obs_size: int, key: PRNGKeyArray, *, channels: tuple[int, int, int] = (64, 128, 256), features: int = 512
    ) -> None:
        self.obs_size = checked_obs_size(obs_size)
        for width in (*channels, features):
            checks.integer("channels and features", width, 1)
        keys = jax.random.split(key, 4)
        widths = zip((3, *channels), channels, (5, 3, 3), keys, strict=False)
        self.convolutions = tuple(_Convolution(*inputs_and_outputs) for inputs_and_outputs in widths)
        self.project = eqx.nn.Linear(channels[-1], features, key=keys[3])
        self.features = features

    def __call__(self, obs: Frames) -> Float32[Array, "T F"]:
        """Look at frames, each for itself; see `Encoder`."""
        _check_frames(obs, self.obs_size)
        if self.obs_size != 128:
            obs = jax.image.resize(_unit(obs), (obs.shape[0], 128, 128, 3), "linear")
        x = obs
        for convolution, pool in zip(self.convolutions, (2, 2, 3), strict=True):
            # Leaky ReLU grows, so it commutes with the maximum, and there is less of it to compute after a pool.
            x = jax.nn.leaky_relu(_max_pool(convolution(x), pool))
        return jax.nn.leaky_relu(linear(self.project, x[:, 0, 0]))


class PatchEncoder(Encoder):
    """A small, fast network for CPUs, where time is short and 64 px are enough.

    The frame is cut into 16 x 16 patches (zeros fill up sizes that 16 does not divide): one linear map for all patches, a
    convolution 3x3 stride 2 over them without padding, and one linear map of what comes of it, each with leaky ReLU. So
    the last row and column of patches, at the border of the screen, are not seen, as in the paper's network. At 64 px and
    the default sizes 407,088 parameters, a fiftieth of the paper's arithmetic.

    Args:
        obs_size: height and width of the frames in pixels, 64 to 512.
        key: one JAX random key.
        width: how many numbers describe a patch; twice as many a group of patches.
        features: how many describe the frame.
    """

    embed: eqx.nn.Linear
    convolution: "_Convolution"
    project: eqx.nn.Linear
    obs_size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(self, obs_size: int, key: PRNGKeyArray, *, width: int = 16, features: int = 256) -> None:
        self.obs_size = checked_obs_size(obs_size)
        self.features = checks.integer("features", features, 1)
        keys = jax.random.split(key, 3)
        self.embed = eqx.nn.Linear(_patch_size(obs_size, 16) ** 2 * 3, checks.integer("width", width, 1), key=keys[0])
        self.convolution = _Convolution(width, 2 * width, 3, keys[1])
        self.project = eqx.nn.Linear(7 * 7 * 2 * width, features, key=keys[2])

    def __call__(self, obs: Frames) -> Float32[Array, "T F"]:
        """Look at frames, each for itself; see `Encoder`."""
        _check_frames(obs, self.obs_size)
        # Of 16 rows and columns the convolution sees 15.
        patches = _cut(obs, 16)[:, :15, :, :15].swapaxes(2, 3)
        x = linear(self.embed, _unit(patches).reshape(len(obs), 15, 15, -1))
        x = jax.nn.leaky_relu(self.convolution(jax.nn.leaky_relu(x)))
        return jax.nn.leaky_relu(linear(self.project, x.reshape(len(obs), -1)))


class KeypointEncoder(Encoder):
    """What is where: a network for long runs on CPUs, which finds single objects in few steps of training.

    The frame is cut into 16 x 16 patches (zeros fill up sizes that 16 does not divide), and one linear map with leaky ReLU
    makes a map of `width` channels of them. Each channel is a detector. Its features are how far its maximum stands out from
    its mean, and where it is: the mean row and column under a softmax over the channel, which is standardised first, as in
    Levine et al. 2016 (arXiv 1504.00702) and Finn et al. 2016 (arXiv 1509.06113). Beside them `layout` features of the whole
    map, for what is more than objects: a linear map for each 4 x 4 patches and one of what comes of it, each with leaky
    ReLU. Weights start uniform as those of He et al. 2015 (arXiv 1502.01852), for no layer to fade, and biases at zero. At
    64 px and the default sizes 83,648 parameters and 224 features.

    Args:
        obs_size: height and width of the frames in pixels, 64 to 512.
        key: one JAX random key.
        width: the number of channels.
        layout: how many features describe the whole map.
    """

    embed: eqx.nn.Linear
    merge: eqx.nn.Linear
    project: eqx.nn.Linear
    obs_size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(self, obs_size: int, key: PRNGKeyArray, *, width: int = 32, layout: int = 128) -> None:
        self.obs_size = checked_obs_size(obs_size)
        self.features = checks.integer("layout", layout, 1) + 3 * checks.integer("width", width, 1)
        keys = jax.random.split(key, 3)
        self.embed = _he_linear(_patch_size(obs_size, 16) ** 2 * 3, width, keys[0])
        self.merge = _he_linear(16 * width, 32, keys[1])
        self.project = _he_linear(16 * 32, layout, keys[2])

    def __call__(self, obs: Frames) -> Float32[Array, "T F"]:
        """Look at frames, each for itself; see `Encoder`."""
        _check_frames(obs, self.obs_size)
        return jax.lax.platform_dependent(self, obs, cpu=see_in_blocks, default=see_at_once)

    def see(self, frame: UInt8[Array, "S S 3"] | Float32[Array, "S S 3"]) -> Float32[Array, "F"]:
        """Look at one frame."""
        patches = _unit(_cut(frame[None], 16))[0].swapaxes(1, 2)
        x = jax.nn.leaky_relu(linear(self.embed, _grouped(patches.reshape(16, 16, -1))))
        groups = jax.nn.leaky_relu(linear(self.merge, x.reshape(16, -1)))
        layout = jax.nn.leaky_relu(linear(self.project, groups.reshape(1, -1)))[0]

        channels = x.reshape(256, -1)
        deviation = channels - channels.mean(0)
        height = deviation.max(0)
        standardized = deviation / jnp.sqrt(jnp.square(deviation).mean(0) + 1e-4)
        rows_and_columns = _grouped(np.stack(np.meshgrid(*[np.linspace(-2, 2, 16)] * 2, indexing="ij"), -1)).reshape(256, 2)
        place = jax.nn.softmax(standardized, axis=0).T @ rows_and_columns.astype(np.float32)
        return jnp.concatenate([layout, height, place.reshape(-1)])


def see_at_once(encoder: KeypointEncoder, obs: Frames) -> Float32[Array, "T F"]:
    """Look at all frames in one go."""
    return jax.vmap(lambda frame: encoder.see(frame))(obs)


def see_in_blocks(encoder: KeypointEncoder, obs: Frames) -> Float32[Array, "T F"]:
    """Look at a few frames at a time."""
    # The maps are larger than all else that learning keeps: made again for the gradient, of few frames, they stay in cache.
    return jax.lax.map(jax.checkpoint(lambda frame: encoder.see(frame)), obs, batch_size=4)


def _grouped(patches: Shaped[Array, "16 16 values"] | Shaped[np.ndarray, "16 16 values"]) -> Any:
    """Bring each 4 x 4 patches together, [16, 16, values]: groups, and patches in a group."""
    return patches.reshape(4, 4, 4, 4, -1).swapaxes(1, 2).reshape(16, 16, -1)


def _patch_size(obs_size: int, patches: int) -> int:
    """Return the height and width in pixels of a patch, where there are so many of them along each side of a frame."""
    return -(-obs_size // patches)


def _cut(obs: Frames, patches: int) -> Shaped[Array, "T patches rows patches values"]:
    """Cut frames into rows and columns of patches, filled up with zeros; the colours of a row of pixels are its values."""
    side = _patch_size(obs.shape[1], patches)
    missing = patches * side - obs.shape[1]
    obs = jnp.pad(obs, ((0, 0), (0, missing), (0, missing), (0, 0)))
    return obs.reshape(-1, patches, side, patches, side * 3)


def _he_linear(inputs: int, outputs: int, key: PRNGKeyArray) -> eqx.nn.Linear:
    layer = eqx.nn.Linear(inputs, outputs, key=key)
    weights = jax.nn.initializers.he_uniform(in_axis=1, out_axis=0)(key, (outputs, inputs), jnp.float32)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, (weights, jnp.zeros(outputs)))


class _Convolution(eqx.Module):
    """A convolution with stride 2 and without padding."""

    weight: Float32[Array, "kernel kernel inputs outputs"]
    bias: Float32[Array, "outputs"]

    def __init__(self, inputs: int, outputs: int, kernel: int, key: PRNGKeyArray) -> None:
        key_weight, key_bias = jax.random.split(key)
        bound = 1 / math.sqrt(kernel**2 * inputs)
        self.weight = jax.random.uniform(key_weight, (kernel, kernel, inputs, outputs), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(key_bias, (outputs,), minval=-bound, maxval=bound)

    def __call__(self, x: Pixels) -> Float32[Array, "T rows columns outputs"]:
        # XLA's convolutions are slow on CPUs, and fifty times slower where their gradients are inside loops.
        return jax.lax.platform_dependent(x, self.weight, self.bias, cpu=as_product, default=as_convolution)


def as_product(
    x: Pixels, weight: Float32[Array, "kernel kernel inputs outputs"], bias: Float32[Array, "outputs"]
) -> Float32[Array, "T rows columns outputs"]:
    """Convolve with stride 2 by one product of matrices: every patch is a row."""
    if x.dtype == jnp.uint8:
        return _product_of_bytes(x, weight, bias)
    return _product(x, weight, bias)


def _product(
    x: Pixels, weight: Float32[Array, "kernel kernel inputs outputs"], bias: Float32[Array, "outputs"]
) -> Float32[Array, "T rows columns outputs"]:
    # The patches overlap: gathered as bytes, where they are bytes, and scaled afterwards.
    patches = _unit(_patches(x, weight.shape[0]))
    # With one axis of rows the gradient by the weight is a plain product, too.
    outputs = patches.reshape(-1, patches.shape[-1]) @ weight.reshape(-1, weight.shape[-1]) + bias
    return outputs.reshape(*patches.shape[:-1], weight.shape[-1])


# Bytes need no gradient. That of the weight is taken frame by frame, from patches that are gathered again and stay in cache:
# those of a whole batch are larger than all else that learning keeps.
@jax.custom_vjp
def _product_of_bytes(
    x: UInt8[Array, "T height width inputs"],
    weight: Float32[Array, "kernel kernel inputs outputs"],
    bias: Float32[Array, "outputs"],
) -> Float32[Array, "T rows columns outputs"]:
    return _product(x, weight, bias)


def _keep_bytes(x: Any, weight: Any, bias: Any) -> Any:
    return _product(x, weight, bias), (x, weight)


def _weight_gradient(kept: Any, gradient: Float32[Array, "T rows columns outputs"]) -> Any:
    x, weight = kept

    @jax.custom_batching.sequential_vmap
    def of_frame(frame: Any, gradient: Any) -> Any:
        patches = _unit(_patches(frame[None], weight.shape[0]))
        return patches.reshape(-1, patches.shape[-1]).T @ gradient.reshape(-1, gradient.shape[-1])

    by_weight = jax.vmap(of_frame)(x, gradient).sum(0).reshape(weight.shape)
    return np.zeros(x.shape, jax.dtypes.float0), by_weight, gradient.sum((0, 1, 2))


_product_of_bytes.defvjp(_keep_bytes, _weight_gradient)


def as_convolution(
    x: Pixels, weight: Float32[Array, "kernel kernel inputs outputs"], bias: Float32[Array, "outputs"]
) -> Float32[Array, "T rows columns outputs"]:
    """Convolve with stride 2 by XLA's own operation."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(_unit(x), weight, (2, 2), "VALID", dimension_numbers=layout) + bias


def _patches(x: Pixels, kernel: int) -> Shaped[Array, "T rows columns {kernel}*{kernel}*inputs"]:
    """Return the patches that a kernel with stride 2 sees.

    Neighbouring pixels are taken in pairs, so that no slice has a stride: longer copies, and faster gradients.
    """
    size, channels = x.shape[1], x.shape[-1]
    outputs = (size - kernel) // 2 + 1
    pairs = outputs + kernel // 2
    missing = max(0, 2 * pairs - size)
    x = jnp.pad(x, ((0, 0), (0, missing), (0, missing), (0, 0)))[:, : 2 * pairs, : 2 * pairs]
    pixels = x.reshape(-1, pairs, 2, pairs, 2 * channels)
    pieces = []
    for y in range(kernel):
        row = pixels[:, y // 2 : y // 2 + outputs, y % 2]
        for column in range(0, kernel, 2):
            width = min(2, kernel - column) * channels
            pieces.append(row[:, :, column // 2 : column // 2 + outputs, :width])
    return jnp.concatenate(pieces, axis=-1)


def _max_pool(x: Float32[Array, "T height width F"], pool: int) -> Float32[Array, "T height//{pool} width//{pool} F"]:
    """Return the maxima of squares of `pool` pixels; a rest at the border is left out.

    Maxima of slices, because the gradient of `reduce_window` is slow on CPUs. Where several are the greatest, the gradient
    is shared among them.
    """
    size = x.shape[1] // pool * pool

    def maximum(slices: list[Float32[Array, "T rows columns F"]]) -> Float32[Array, "T rows columns F"]:
        greatest, *others = slices
        for other in others:
            greatest = jnp.maximum(greatest, other)
        return greatest

    rows = maximum([x[:, i:size:pool, :size] for i in range(pool)])
    return maximum([rows[:, :, i::pool] for i in range(pool)])


def _unit(frames: UInt8[Array, "*shape"] | Float32[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Scale uint8 to float32 in [0, 1]; float32 is left as it is."""
    return frames.astype(jnp.float32) / 255.0 if frames.dtype == jnp.uint8 else frames


def _check_frames(obs: Shaped[Array, "..."], size: int) -> None:
    if obs.ndim != 4 or obs.shape[1:] != (size, size, 3):
        raise ValueError(
            f"frames must have the shape [T, {size}, {size}, 3], got {list(obs.shape)}; for a batch use jax.vmap"
        )
    if obs.dtype not in (jnp.uint8, jnp.float32):
        raise TypeError(f"frames must be uint8, or float32 in [0, 1], got {obs.dtype}")

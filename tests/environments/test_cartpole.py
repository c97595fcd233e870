import math
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from popgym_arcade import experts
from popgym_arcade.environments.cartpole import ANGULAR_VELOCITY, MAX_SPEED, PIXEL, CartPole, CartPoleState, Stage
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.graphics import Gauge
from popgym_arcade.testing import Decoder, Near, Resampler
from tests.environments import contract, recorded


def read_gauge(gauge: Gauge, frame: np.ndarray) -> tuple[float, float]:
    """Read an arrow: the longest lit pixel along its axis. Returns (reading, tolerance of one pixel)."""
    height, width, _ = gauge.unlit.shape
    box = frame[gauge.top : gauge.top + height, gauge.left : gauge.left + width]
    lit = np.all(box == gauge.colour, 2)
    per_pixel = gauge.limit / gauge.pixels
    if not lit.any():
        return 0.0, per_pixel
    if gauge.curved_about_bottom:
        x = np.arange(width)[None, :] - (width - 1) / 2
        y = height - 0.5 - np.arange(height)[:, None]
        along = np.arctan2(x, y) * gauge.pixels / (np.pi / 2)
    else:
        along = np.arange(width)[None, :] - (width - 1) / 2 + np.zeros((height, 1))
    lengths = along[lit]
    return float(lengths[np.argmax(np.abs(lengths))]) * per_pixel, per_pixel


def read_stage(stage: Stage, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the four numbers from the pixels, by geometry. Returns (values, tolerances)."""
    rod, cart = stage.rod, stage.cart
    band = frame[cart.top : cart.top + len(cart.picture), cart.left : cart.left + cart.width]
    columns = np.flatnonzero(np.any(band != cart.background, axis=(0, 2)))
    column = (columns[0] + columns[-1]) / 2
    position = (column - stage.middle) / stage.pixels_per_metre

    box = frame[rod.top : rod.top + rod.height, rod.left : rod.left + rod.width].astype(float)
    cover = np.abs(box - rod.background).sum(2) / np.abs(np.subtract(rod.colour, rod.background)).sum()
    rows = np.flatnonzero(cover.sum(1) > 0.5)
    # The upper part of the rod: its middle line runs through the pivot.
    rows = rows[: max(1, len(rows) // 2)]
    centres = (cover[rows] * np.arange(rod.width)).sum(1) / cover[rows].sum(1)
    up = rod.height - 0.5 - rows
    angle = math.atan(np.mean((centres - column)[:-1] / up[:-1]) if len(rows) > 1 else 0.0)

    (velocity, velocity_step), (spin, spin_step) = read_gauge(stage.velocity, frame), read_gauge(stage.spin, frame)
    within = np.array([1 / stage.pixels_per_metre, velocity_step, 1 / (0.7 * rod.length), 1.5 * spin_step])
    return np.array([position, velocity, angle, spin]), within


def reader(env: CartPole | NoisyCartPole) -> contract.Reader:
    stage = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        cart = stage.cart
        band = frame[cart.top : cart.top + len(cart.picture), cart.left : cart.left + cart.width]
        whole = np.any(band != cart.background)
        if whole:
            values, within = read_stage(stage, frame)
        else:
            spin, step = read_gauge(stage.spin, frame)
            values, within = np.array([0, 0, 0, spin]), np.array([0, 0, 0, 1.5 * step])
        return {
            "score": stage.screen.score_readout.read(frame),
            "physics": Near(values, within + PIXEL / 2),
            "whole": np.asarray(whole),
        }

    return read


def decoder(env: CartPole) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        values, within = read_stage(env.layout, frame)
        return {"score": env.layout.screen.score_readout.read(frame), "physics": Near(values, within)}

    return decode


def resampler(env: CartPole) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        key_others, key_digits = jax.random.split(key)
        others = jax.random.uniform(key_others, (4,), minval=-1.0, maxval=1.0) * jnp.array([2.4, 3.0, 0.2, 0.0])
        spin = jnp.round(2 * state.physics[ANGULAR_VELOCITY]) / 2 + jax.random.uniform(
            key_digits, (), minval=-0.24, maxval=0.24
        )
        return state.replace(physics=jnp.where(state.time == 0, state.physics, others.at[ANGULAR_VELOCITY].set(spin)))

    return resample


@pytest.mark.parametrize("difficulty", CartPole.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(CartPole(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", CartPole.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(CartPole(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", CartPole.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(CartPole(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", CartPole.difficulties)
def test_rules(difficulty: str) -> None:
    """Against Gymnasium's CartPole-v1, which pushes at every step: no push is compared with the mean of both."""
    env = CartPole(difficulty=difficulty)
    steps = np.asarray(env.default_params.max_steps_in_episode).item()
    reference: Any = gymnasium.make("CartPole-v1").unwrapped
    falls = 0

    def pushed(physics: np.ndarray, push: int) -> np.ndarray:
        reference.reset(seed=0)
        reference.state = tuple(float(number) for number in physics)
        reference.step(push)
        return np.array(reference.state)

    for step in contract.rollout(env):
        physics = step.before.physics
        if step.action in (2, 3):
            expected = pushed(physics, step.action - 2)
        else:  # the equations are linear in the force
            expected = (pushed(physics, 0) + pushed(physics, 1)) / 2
        assert step.after.physics == pytest.approx(expected, abs=1e-5)
        fallen = bool(abs(expected[0]) > 2.4 or abs(expected[2]) > math.radians(12))
        assert step.terminated == fallen
        assert step.truncated == (not fallen and step.before.time + 1 == steps)
        assert step.reward == pytest.approx(0 if fallen else 1 / steps)
        assert step.after.score == contract.percent((step.before.time + 1 - fallen) / steps)
        falls += fallen
    assert falls > 10


def test_survivors_get_one_and_are_truncated() -> None:
    env = CartPole()
    episodes = jax.vmap(lambda key: experts.play(env, experts.expert(env), key))(jax.random.split(jax.random.key(0), 256))
    assert np.all(episodes.truncated)
    assert np.all(episodes.length == 300)
    assert episodes.total == pytest.approx(np.ones(256), abs=1e-5)


def test_rewards_follow_the_clock() -> None:
    env = CartPole()
    params = env.default_params.replace(max_steps_in_episode=np.int32(50))
    episode = experts.play(env, experts.expert(env), jax.random.key(0), params)
    assert episode.length == 50
    assert episode.total == pytest.approx(1, abs=1e-5)


def test_starts() -> None:
    physics = contract.starts(CartPole(), 20_000).physics
    for number, most in zip(physics.T, (1.6, 0.05, 0.12, 0.05), strict=True):
        assert scipy.stats.kstest(number, "uniform", (-most, 2 * most)).pvalue > 1e-3
    assert np.max(np.abs(np.corrcoef(physics.T) - np.eye(4))) < 0.03


@pytest.mark.parametrize("obs_size", [64, 100, 128, 256, 512])
def test_arrows_grow_evenly(obs_size: int) -> None:
    """Both speeds can be read to a pixel, from one limit to the other."""
    env = CartPole(obs_size=obs_size)
    _, state = env.reset(jax.random.key(0))
    speeds = np.linspace(-MAX_SPEED, MAX_SPEED, 81)
    physics = jnp.asarray(np.stack([0 * speeds, speeds, 0 * speeds, -speeds], 1), jnp.float32)
    frames = np.asarray(jax.jit(jax.vmap(lambda physics: env.get_obs(state.replace(physics=physics))))(physics))
    for frame, speed in zip(frames, speeds, strict=True):
        (velocity, step), (spin, spin_step) = (read_gauge(gauge, frame) for gauge in (env.layout.velocity, env.layout.spin))
        assert velocity == pytest.approx(speed, abs=step)
        assert spin == pytest.approx(-speed, abs=1.5 * spin_step)


def test_pomdp_rounds_the_angular_velocity_and_hides_the_rest() -> None:
    env = CartPole(partial_obs=True)
    _, state = env.reset(jax.random.key(0))
    later = state.replace(time=jnp.int32(1))
    for spin, shown in ((0.2, 0.0), (0.3, 0.5), (-0.7, -0.5), (2.1, 2.0)):
        frame = np.asarray(env.get_obs(later.replace(physics=jnp.array([1.0, 2.0, 0.1, spin]))))
        (velocity, _), (read, step) = (read_gauge(gauge, frame) for gauge in (env.layout.velocity, env.layout.spin))
        assert velocity == 0
        assert read == pytest.approx(shown, abs=1.5 * step)
        assert np.array_equal(frame, env.get_obs(later.replace(physics=jnp.array([0.0, 0.0, 0.0, shown]))))


def test_the_screen_ends_where_it_ends() -> None:
    """Numbers far off the screen are drawn at its edge, and nothing else changes."""
    env = CartPole()
    _, state = env.reset(jax.random.key(0))

    def draw(*physics: float) -> np.ndarray:
        return np.asarray(env.get_obs(state.replace(physics=jnp.array(physics, jnp.float32))))

    assert np.array_equal(draw(50, 50, 0, 50), draw(9, 9, 0, 9))
    for physics in ((-50, -50, -50, -50), (0, 0, 3, 0)):
        frame = draw(*physics)
        stage = env.layout
        assert np.array_equal(frame[: stage.rod.top], draw(0, 0, 0, 0)[: stage.rod.top])


def test_state_is_a_pytree() -> None:
    _, state = CartPole().reset(jax.random.key(0))
    assert isinstance(state, CartPoleState)
    assert len(jax.tree.leaves(state)) == 3

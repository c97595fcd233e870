"""CartPole: keep the pole up."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade.game import (
    LEVELS,
    Action,
    Environment,
    Gauge,
    Glimpse,
    Params,
    Rod,
    Screen,
    Slider,
    State,
    Transition,
    palette,
    pytree,
    shapes,
    start_fields,
    survival,
)

POSITION, VELOCITY, ANGLE, ANGULAR_VELOCITY = range(4)
MAX_SPEED = 5.0
"""The speed, in m/s and rad/s, at which the arrows reach their full length."""
ROUNDING = 0.5
"""The angular velocity that the POMDP shows is a multiple of this, in rad/s."""
PIXEL = np.array([0.05, 0.08, 0.025, 0.16], np.float32)
"""How much of each number is a pixel at 128 px."""
START_RANGES = np.array([1.6, 0.05, 0.12, 0.05], np.float32)
"""All four numbers start between these and their negatives."""
_GAINS = np.array([0.4, 1.0, 12.0, 3.0], np.float32)  # of the expert, on position, velocity, angle, angular velocity
_ENDS = np.array([3.15, MAX_SPEED, np.pi / 2, MAX_SPEED], np.float32)  # numbers beyond these look alike
_ALWAYS_SHOWN = np.arange(4) == ANGULAR_VELOCITY
_MARGIN = 0.2  # metres of track shown beyond where the game ends


@pytree
class CartPoleParams(Params):
    """The parameters of CartPole: those of Gymnasium's CartPole-v1, float32[] in SI units."""

    gravity: ArrayLike
    cart_mass: ArrayLike
    pole_mass: ArrayLike
    half_length: ArrayLike
    """Half the length of the pole."""
    force: ArrayLike
    """Of a push."""
    tau: ArrayLike
    """Seconds between two steps."""
    max_position: ArrayLike
    """The distance from the middle at which the game is lost."""
    max_angle: ArrayLike
    """The angle in radians at which the game is lost."""


@pytree
class CartPoleState(State):
    """The state of CartPole."""

    physics: jax.Array
    """Position of the cart (m), its velocity (m/s), angle of the pole (rad, positive to the right), its angular velocity
    (rad/s): float32[4]. Public in the MDP; after the first frame the POMDP hides all but the angular velocity, and of that
    what is lost in rounding."""


@pytree
class CartPoleGlimpse(Glimpse):
    """The contents of a frame of CartPole or NoisyCartPole."""

    physics: jax.Array
    """The four numbers as they are shown, to a pixel, float32[4]; those that are hidden are 0."""
    whole: jax.Array
    """Whether all four are shown, or the angular velocity alone, bool[]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CartPole(Environment[CartPoleState, CartPoleParams]):
    """Balance a pole on a cart.

    Physics: that of Gymnasium's CartPole-v1, with Euler's method and 0.02 s a step. The cart starts up to 1.6 m from the
        middle and the pole up to 0.12 rad from upright, both speeds between -0.05 and 0.05; all four are uniform.
    Actions: left and right push the cart with 10 N; other actions push nothing.
    End: terminated when the cart is more than 2.4 m from the middle or the pole more than 12 degrees from upright;
        truncated after 300 / 450 / 600 steps.
    Reward: 1 / steps for each step after which the pole still stands. The return lies in [0, 1], 1 is survival.
    MDP frame: cart and pole, an arrow for the cart's velocity, a curved arrow for the pole's angular velocity. The arrows
        grow with the speed, evenly, up to 5 m/s and 5 rad/s.
    POMDP frame: the same in the first frame; later the curved arrow alone, for the angular velocity rounded to the nearest
        multiple of 0.5 rad/s.
    Memory: all four numbers, for the whole episode. They are seen once, in the first frame; from then on they must be worked
        out from the pushes, and the rounded angular velocity keeps the error from growing.
    Memory length: all of the episode: where the cart is is never shown again after the first frame.
    Winning: push the cart under the pole, to the side to which it leans and falls, before it falls too fast. The expert
        pushes by the sign of a weighted sum of the four numbers, and never loses.

    Source: A. G. Barto, R. S. Sutton and C. W. Anderson, "Neuronlike adaptive elements that can solve difficult learning
    control problems", 1983.
    """

    difficulties = LEVELS
    version = 1
    steps_per_second = 15

    @property
    def default_params(self) -> CartPoleParams:
        """See the class."""
        return CartPoleParams(
            max_steps_in_episode=np.int32({"Easy": 300, "Medium": 450, "Hard": 600}[self.difficulty]),
            gravity=np.float32(9.8),
            cart_mass=np.float32(1.0),
            pole_mass=np.float32(0.1),
            half_length=np.float32(0.5),
            force=np.float32(10.0),
            tau=np.float32(0.02),
            max_position=np.float32(2.4),
            max_angle=np.float32(12 * np.pi / 180),
        )

    def initial_state(self, key: jax.Array, params: CartPoleParams) -> CartPoleState:
        """Start somewhere on the track, leaning, and nearly at rest."""
        return CartPoleState(**start_fields(), physics=start_physics(key))

    def transition(
        self, key: jax.Array, state: CartPoleState, action: jax.Array, params: CartPoleParams
    ) -> Transition[CartPoleState]:
        """Push the cart for one step."""
        physics = push(state.physics, action, params)
        score, reward, fallen = judge(physics, state.time, params)
        return state.replace(physics=physics, score=score), reward, fallen

    def _shown(self, state: CartPoleState) -> tuple[jax.Array, jax.Array]:
        """The four numbers that the frame shows, float32[4], and whether it shows more than the last one, bool[]."""
        whole = (state.time == 0) | (not self.partial_obs)
        return jnp.where(whole, state.physics, jnp.round(state.physics / ROUNDING) * ROUNDING), whole

    def glimpse(self, state: CartPoleState) -> CartPoleGlimpse:
        """Read the four numbers, or one."""
        return glimpse_stage(state, *self._shown(state))

    def draw(self, state: CartPoleState) -> jax.Array:
        """Show cart, pole and arrows."""
        return self.layout.render(state, *self._shown(state))

    def expert_action(self, key: jax.Array, state: CartPoleState, params: CartPoleParams) -> jax.Array:
        """Balance by feedback of all four numbers."""
        return balance(state.physics)

    @functools.cached_property
    def layout(self) -> "Stage":
        """The screen of this view, laid out once."""
        return Stage(self.obs_size, type(self).__name__)


def start_physics(key: jax.Array) -> jax.Array:
    """Draw the four numbers at the start of an episode: float32[4]."""
    return jax.random.uniform(key, (4,), jnp.float32, -START_RANGES, START_RANGES)


def push(physics: jax.Array, action: jax.Array, params: CartPoleParams) -> jax.Array:
    """Move the four numbers, float32[4], on by one step."""
    _, velocity, angle, spin = physics
    force = params.force * ((action == Action.RIGHT).astype(jnp.float32) - (action == Action.LEFT))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    mass = params.cart_mass + params.pole_mass
    swing = (force + params.pole_mass * params.half_length * spin**2 * sine) / mass
    inertia = params.half_length * (4.0 / 3.0 - params.pole_mass * cosine**2 / mass)
    angular_acceleration = (params.gravity * sine - cosine * swing) / inertia
    acceleration = swing - params.pole_mass * params.half_length * angular_acceleration * cosine / mass
    rates = jnp.stack([velocity, acceleration, spin, angular_acceleration])
    return physics + params.tau * rates


def judge(physics: jax.Array, time: jax.Array, params: CartPoleParams) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return score, reward, and whether the pole has fallen, after step number `time`, counted from 0."""
    fallen = (jnp.abs(physics[POSITION]) > params.max_position) | (jnp.abs(physics[ANGLE]) > params.max_angle)
    return *survival(time, fallen, params), fallen


def balance(physics: jax.Array) -> jax.Array:
    """Return the push, int32[], of a controller that keeps the pole up and the cart near the middle."""
    lean = physics @ jnp.asarray(_GAINS)
    return jnp.where(lean > 0, Action.RIGHT, Action.LEFT).astype(jnp.int32)


def glimpse_stage(state: State, physics: jax.Array, whole: jax.Array) -> CartPoleGlimpse:
    """Return what is told by a stage that shows the numbers `physics`, float32[4], all or, unless `whole`, the last one."""
    read = jnp.round(jnp.clip(physics, -_ENDS, _ENDS) / PIXEL) * PIXEL
    return CartPoleGlimpse(score=state.score, physics=jnp.where(whole | _ALWAYS_SHOWN, read, 0.0), whole=whole)


class Stage:
    """The screen: pole, cart and track, below them the arrows."""

    def __init__(self, obs_size: int, title: str) -> None:
        self.screen = screen = Screen(obs_size, title)
        height, width, left, unit = screen.height, screen.width, screen.left, obs_size / 128
        track_top = screen.top + round(0.53 * height)
        cart_height = round(10 * unit)
        cart_width = 2 * round(11 * unit) + 1
        rod_top = screen.top + screen.edge + 1
        rod_height = track_top - cart_height - rod_top
        self.middle = width // 2
        reach = 2.4 + _MARGIN
        self.pixels_per_metre = (width / 2 - cart_width / 2) / reach

        track = screen.background[track_top : track_top + 2 * screen.edge, left : left + width]
        track[:] = palette.GREY
        self.rod = Rod(
            rod_top,
            left,
            rod_height,
            width,
            round(0.92 * rod_height),
            2 * round(2 * unit) + 1,
            palette.ORANGE,
            palette.FIELD,
        )
        self.cart = Slider(track_top - cart_height, left, width, _cart(cart_height, cart_width), palette.FIELD)

        arrow_height = 2 * round(6 * unit) + 1
        arrow_top = track_top + round(6 * unit)
        self.velocity = Gauge.straight(screen.background, (arrow_top, left, arrow_height, width), MAX_SPEED, palette.SKY)
        dial_top = arrow_top + arrow_height + round(2 * unit)
        dial_height = screen.top + screen.height - screen.edge - round(2 * unit) - dial_top
        dial_width = min(2 * dial_height + 1, width)
        dial_left = left + (width - dial_width) // 2
        self.spin = Gauge.curved(
            screen.background,
            (dial_top, dial_left, dial_height, dial_width),
            MAX_SPEED,
            palette.YELLOW,
            max(5, arrow_height * 3 // 4),
        )

    def render(self, state: State, physics: jax.Array, whole: jax.Array) -> jax.Array:
        """Draw the score, the curved arrow and, if `whole`, bool[], the rest, at the numbers of `physics`, float32[4]."""
        width = self.screen.width
        column = jnp.rint(self.middle + physics[POSITION] * self.pixels_per_metre)
        column = jnp.clip(column, 0, width - 1).astype(jnp.int32)
        return self.screen.render(
            self.screen.score(state.score),
            self.rod.show(column, physics[ANGLE], whole),
            self.cart.show(column, whole),
            self.velocity.show(jnp.where(whole, physics[VELOCITY], 0.0)),
            self.spin.show(physics[ANGULAR_VELOCITY]),
        )


def _cart(height: int, width: int) -> np.ndarray:
    image = shapes.tile(height, width, palette.FIELD)
    wheel = height * 0.24
    body = image[: round(height - wheel)]
    shapes.paint(body, palette.SKY, shapes.rounded(0, 0, 1, 1, 0.12))
    shapes.paint(body, palette.BLUE, shapes.rectangle(0, 0.62, 1, 0.82))
    diameter = round(2 * wheel)
    for centre in (0.22, 0.78):
        left = round(centre * width - diameter / 2)
        shapes.paint(image[height - diameter :, left : left + diameter], palette.WHITE, shapes.disc(0.5, 0.5, 0.5))
    return image

"""NoisyCartPole: keep the pole up with bad eyes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environments import cartpole
from popgym_arcade.environments.cartpole import CartPole, CartPoleGlimpse, CartPoleParams, CartPoleState
from popgym_arcade.game import LEVELS, Environment, Transition, pytree, start_fields


@pytree
class NoisyCartPoleState(CartPoleState):
    """The state of NoisyCartPole. The POMDP hides all of `physics`."""

    sensed: jax.Array
    """The four numbers with sensor noise, float32[4]. Never shown in the MDP; public in the POMDP's first frame, of which
    later ones show the angular velocity alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyCartPole(Environment[NoisyCartPoleState, CartPoleParams]):
    """Balance a pole that is hard to see.

    Rules: those of `CartPole`, with 300 steps. The difficulty is how badly the POMDP sees.
    MDP frame: that of `CartPole`, without noise.
    POMDP frame: the same in the first frame, later the curved arrow alone; both drawn from the four numbers plus Gaussian
        noise, independent and fresh at each step, of standard deviation 0.1 / 0.2 / 0.3. Nothing is rounded. It is clipped
        only where the picture ends.
    Memory: all four numbers, as in `CartPole`, and for them what many frames showed: the first one is noisy, too, and where
        the cart is and how far the pole leans comes out only of many noisy angular velocities and the pushes between them.
    Memory length: all of the episode, as in `CartPole`.
    Winning: as in `CartPole`, but with an estimate of the four numbers. The expert balances by the true ones, and never
        loses.
    """

    difficulties = LEVELS
    version = 1
    steps_per_second = 15

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise, on all four numbers."""
        return {"Easy": 0.1, "Medium": 0.2, "Hard": 0.3}[self.difficulty]

    @property
    def default_params(self) -> CartPoleParams:
        """Those of CartPoleEasy."""
        return CartPole(difficulty="Easy").default_params

    def initial_state(self, key: jax.Array, params: CartPoleParams) -> NoisyCartPoleState:
        """Start as CartPole does, and take a first look."""
        key_physics, key_noise = jax.random.split(key)
        physics = cartpole.start_physics(key_physics)
        return NoisyCartPoleState(**start_fields(), physics=physics, sensed=self._sense(key_noise, physics))

    def transition(
        self, key: jax.Array, state: NoisyCartPoleState, action: jax.Array, params: CartPoleParams
    ) -> Transition[NoisyCartPoleState]:
        """Push the cart for one step, and look at it."""
        physics = cartpole.push(state.physics, action, params)
        score, reward, fallen = cartpole.judge(physics, state.time, params)
        return state.replace(physics=physics, sensed=self._sense(key, physics), score=score), reward, fallen

    def _sense(self, key: jax.Array, physics: jax.Array) -> jax.Array:
        return physics + np.float32(self.sigma) * jax.random.normal(key, (4,), jnp.float32)

    def _shown(self, state: NoisyCartPoleState) -> tuple[jax.Array, jax.Array]:
        """The four numbers that the frame shows, float32[4], and whether it shows more than the last one, bool[]."""
        return (state.sensed, state.time == 0) if self.partial_obs else (state.physics, jnp.ones((), bool))

    def glimpse(self, state: NoisyCartPoleState) -> CartPoleGlimpse:
        """Read the four numbers, or one: the truth, or what the sensors say."""
        return cartpole.glimpse_stage(state, *self._shown(state))

    def draw(self, state: NoisyCartPoleState) -> jax.Array:
        """Show the truth, or what the sensors say."""
        return self.layout.render(state, *self._shown(state))

    def expert_action(self, key: jax.Array, state: NoisyCartPoleState, params: CartPoleParams) -> jax.Array:
        """Balance by feedback of the four numbers without noise."""
        return cartpole.balance(state.physics)

    @functools.cached_property
    def layout(self) -> cartpole.Stage:
        """The screen of this view, laid out once."""
        return cartpole.Stage(self.obs_size, type(self).__name__)

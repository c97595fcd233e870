"""check_environment against games that are broken on purpose: each break must be caught, and named."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import experts
from popgym_arcade.environment import Environment
from popgym_arcade.testing import ContractError, Near, check_environment
from tests import tiny
from tests.tiny import Tiny

_rng = np.random.default_rng(0)


class ViewsDiffer(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state, reward + 1e-6 * self.partial_obs, terminated


class ViewsStartApart(Tiny):
    def initial_state(self, key: Any, params: Any) -> Any:
        state = super().initial_state(key, params)
        return state.replace(target=0 * state.target) if self.partial_obs else state


class NoisyFrame(Tiny):
    def step(self, key: Any, state: Any, action: Any, params: Any = None) -> Any:
        obs, *rest = super().step(key, state, action, params)
        return obs.at[0, 0, 0].set(jax.random.bits(jax.random.fold_in(key, 7), (), jnp.uint8)), *rest


class FrozenScreen(Tiny):
    def draw(self, state: Any) -> Any:
        return jnp.zeros((self.obs_size, self.obs_size, 3), jnp.uint8)


class SmallFrame(Tiny):
    def draw(self, state: Any) -> Any:
        return super().draw(state)[1:]


class FloatFrame(Tiny):
    def draw(self, state: Any) -> Any:
        return super().draw(state) / 255


class WeakReward(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, _, terminated = super().transition(key, state, action, params)
        return state, jnp.where(terminated, 1, 0), terminated


class DriftingState(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state.replace(hits=state.hits.astype(jnp.float32)), reward, terminated


class OwnKey(Tiny):
    def initial_state(self, key: Any, params: Any) -> Any:
        return super().initial_state(jax.random.key(0), params)


class OwnConstantKey(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state, reward * jax.random.uniform(_constant_key), terminated


_constant_key = jax.random.key(1)


class OwnDice(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state, reward * np.float32(_rng.random()), terminated


class KeyTwice(Tiny):
    def initial_state(self, key: Any, params: Any) -> Any:
        state = super().initial_state(key, params)
        return state.replace(target=jax.random.randint(key, (), 0, 4))


class AlwaysTheSame(Tiny):
    def initial_state(self, key: Any, params: Any) -> Any:
        state = super().initial_state(key, params)
        return jax.tree.map(jnp.zeros_like, state)


class RunsOut(Tiny):
    """Its own clock, beside that of the params."""

    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state.replace(time=state.time + 1), reward, terminated


class StartsLate(Tiny):
    def initial_state(self, key: Any, params: Any) -> Any:
        return super().initial_state(key, params).replace(time=jnp.int32(3))


class TooRich(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state, reward + 0.1, terminated


class WrongScore(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, terminated = super().transition(key, state, action, params)
        return state.replace(score=state.score + 2), reward, terminated


class BothEnds(Tiny):
    def _advance(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        state, reward, done, info, key_reset = super()._advance(key, state, action, params)
        return state, reward, done, info | {"truncated": done}, key_reset


class NoReset(Tiny):
    def step(self, key: Any, state: Any, action: Any, params: Any = None) -> Any:
        return self.step_env(key, state, action, params)


class OtherReset(Tiny):
    def step(self, key: Any, state: Any, action: Any, params: Any = None) -> Any:
        _, after, reward, done, info = super().step(key, state, action, params)
        fresh = self.initial_state(jax.random.fold_in(key, 99), self.default_params)
        after = jax.tree.map(lambda old, new: jnp.where(done, new, old), after, fresh)
        return self.get_obs(after), after, reward, done, info


class MoreActions(Tiny):
    @property
    def num_actions(self) -> int:
        return 6


class Unequal(Tiny):
    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("game", "complaint"),
    [
        (ViewsDiffer, "the views differ .* in reward"),
        (ViewsStartApart, "the views start apart .* in .target"),
        (NoisyFrame, "get_obs.state. must equal the observation"),
        (FrozenScreen, "the screen never changes"),
        (SmallFrame, "must return a frame"),
        (FloatFrame, "must return a frame"),
        (WeakReward, "reward must be float32"),
        (DriftingState, "types of the state must not drift"),
        (OwnKey, "initial_state draws from a key of its own"),
        (OwnConstantKey, "transition draws from a key of its own"),
        (OwnDice, "transition must do the same"),
        (KeyTwice, "initial_state uses a key twice"),
        (AlwaysTheSame, "starts in the same state whatever the key"),
        (RunsOut, "state.time must count|with max_steps_in_episode"),
        (StartsLate, "must start with time and score 0"),
        (TooRich, "returns must lie in"),
        (WrongScore, "state.score must be the undiscounted return"),
        (BothEnds, "not truncated|differ in"),
        (NoReset, "after done must come reset"),
        (OtherReset, "after done must come reset"),
        (MoreActions, "5 actions"),
        (Unequal, "must be equal"),
    ],
)
def test_a_broken_game_is_caught(game: type[Tiny], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        check_environment(game(obs_size=64))


class ShowsTarget(Tiny):
    def draw(self, state: Any) -> Any:
        return super().draw(state.replace(time=0 * state.time))


class HidesTarget(Tiny):
    def draw(self, state: Any) -> Any:
        return super().draw(state.replace(target=0 * state.target))


class Impossible(Tiny):
    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        return super().transition(key, state.replace(target=jnp.full_like(state.target, -1)), action, params)


def test_a_pomdp_that_shows_too_much_is_caught() -> None:
    with pytest.raises(ContractError, match="the POMDP shows what it should hide"):
        check_environment(ShowsTarget(obs_size=64), resample_hidden=tiny.resample_hidden)


def test_an_mdp_that_shows_too_little_is_caught() -> None:
    with pytest.raises(ContractError, match="the MDP frame does not tell target"):
        check_environment(HidesTarget(obs_size=64), decode=tiny.decode)


def test_a_game_that_cannot_be_won_is_caught() -> None:
    env = Impossible(obs_size=64)
    with pytest.raises(ContractError, match="the expert misses the best return in 64 of 64 episodes"):
        check_environment(env, expert=experts.expert(env))


class ShownInTheScore(Tiny):
    """What the frame shows anyway tells the target, too."""

    def glimpse(self, state: Any) -> Any:
        return super().glimpse(state).replace(hits=state.target)


class AlwaysUp(Tiny):
    """Its target varies too little to be worth remembering."""

    def initial_state(self, key: Any, params: Any) -> Any:
        state = super().initial_state(key, params)
        return state.replace(target=(state.target == 3).astype(jnp.int32))


@pytest.mark.parametrize("game", [ShownInTheScore, AlwaysUp])
def test_a_game_that_needs_no_memory_is_caught(game: type[Tiny]) -> None:
    with pytest.raises(ContractError, match=r"memory must be worth 0.3 in the POMDP: memory player 1.00"):
        check_environment(game(obs_size=64), memory_player=tiny.memory_player)


@pytest.mark.parametrize(
    ("helper", "complaint"),
    [
        ({"resample_hidden": lambda key, state: state}, "resample_hidden changes nothing"),
        ({"decode": lambda frame: {}}, "decode must return"),
        ({"decode": lambda frame: {"hits": Near(0, 0.5)}}, "does not tell hits"),
        ({"decode": lambda frame: {"luck": 0}}, "has no field luck"),
    ],
)
def test_a_helper_that_proves_nothing_is_caught(helper: Any, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        check_environment(Tiny(obs_size=64), **helper)


def test_report() -> None:
    env = Tiny(obs_size=64, partial_obs=True)
    report = check_environment(env)
    assert len(report.not_checked) == 4
    assert "NOT checked: promise 3: the MDP frame is sufficient (give decode)" in str(report)
    assert "checked: promise 1, same game" in str(report)
    helpers = {"decode": tiny.decode, "resample_hidden": tiny.resample_hidden, "expert": experts.expert(env)}
    full = check_environment(env, **helpers, memory_player=tiny.memory_player)
    assert not full.not_checked
    assert "decoded: hits, score, target" in str(full)
    assert "resampled: target" in str(full)
    assert "promise 6: memory pays; memory player 1.00, memoryless 0." in str(full)


def test_wrong_arguments() -> None:
    check: Any = check_environment
    with pytest.raises(TypeError, match="env must be an Environment"):
        check("NavigatorEasy")
    with pytest.raises(TypeError, match="params must be a Params"):
        check(Tiny(), {})
    with pytest.raises(TypeError, match="expert must be a function"):
        check(Tiny(), expert=True)
    with pytest.raises(TypeError, match="memory_player must be a popgym_arcade.players.Player"):
        check(Tiny(), memory_player=lambda key, memory, glimpse: (memory, 0))


def test_a_game_without_an_expert_says_so() -> None:
    class NoExpert(Tiny):
        expert_action = Environment.expert_action

    with pytest.raises(LookupError, match="has no expert"):
        experts.expert(NoExpert())

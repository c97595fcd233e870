"""The subject of an introspection: an agent and its environment, checked against each other before anything is compiled."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

import popgym_arcade
from popgym_arcade import baselines, checks
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.baselines.model.memory import SMALL, checked_name
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import run as runs
from popgym_arcade.environment import Environment, view_name
from popgym_arcade.introspection.episode import Recording, record

_KEYS = ("ENV_NAME", "PARTIAL", "MEMORY_TYPE", "SEED")


class Subject(NamedTuple):
    """An agent and its game."""

    model: MemoryNetwork
    env: Environment[Any, Any]
    """The game in the view to look into, at the size of frames that the model is made for."""
    about: "About"

    def record(self, episode_seed: int = 0, num_steps: int | None = None, number: int = 0) -> Recording:
        """Play an episode greedily, and record it.

        Args:
            episode_seed: the seed of the episodes.
            num_steps: how many steps; if left out, to the end. An episode may end earlier.
            number: which of the episodes of this seed.
        """
        return record(self.model, self.env, jax.random.key(episode_seed), num_steps, number)

    def other_view(self) -> "Subject":
        """The same agent, in front of the game's twin."""
        return Subject(self.model, self.env.twin, self.about._replace(partial_obs=not self.about.partial_obs))


class About(NamedTuple):
    """The description of an agent."""

    env_id: str
    partial_obs: bool
    memory: str
    seeds: tuple[int, ...]
    """One, or more where agents are looked at together."""
    other_rules: str = ""
    """Which rules it was trained under, if they are not today's."""
    run: str = ""
    """The folder it was loaded from, without what lies above; empty if it was not loaded."""

    @property
    def title(self) -> str:
        """The title of a figure."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        title = f"{self.env_id} ({view_name(self.partial_obs)}), memory {self.memory}, {seeds}"
        return f"{title}, trained under {self.other_rules}" if self.other_rules else title

    @property
    def slug(self) -> str:
        """The stem of a file name, e.g. `NavigatorEasy-pomdp-lru-seed0`."""
        return f"{self.env_id}-{view_name(self.partial_obs).lower()}-{self.memory}-seed{'-'.join(map(str, self.seeds))}"


def subject(model: MemoryNetwork, config: Any) -> Subject:
    """Put an agent and what is said of it together.

    Args:
        model: the agent.
        config: a mapping with the keys ENV_NAME (str), PARTIAL (bool), MEMORY_TYPE (str) and SEED (int), others are not
            looked at; or what `popgym_arcade.baselines.load` returns beside the model.

    Raises:
        TypeError: if the model is no network of the baselines, or a value has the wrong type.
        ValueError: if a key is missing, the game or the memory is unknown (the error names the closest), or the model does
            not fit: the error says what it has, and what it should have.
    """
    if not isinstance(model, MemoryNetwork):
        raise TypeError(f"model must be a network of popgym_arcade.baselines.model.builder, got {type(model).__name__}")
    about = described(config)
    env, _ = popgym_arcade.make(about.env_id, partial_obs=about.partial_obs, obs_size=model.obs_size)
    said = {"memory": "none" if about.memory == SMALL else about.memory, "number of actions": env.num_actions}
    found = {"memory": model.memory.name or said["memory"], "number of actions": model.num_actions}
    if not isinstance(config, Mapping):
        said["obs_size"], found["obs_size"] = config.obs_size, model.obs_size
    if wrong := [f"{what} {found[what]} instead of {said[what]}" for what in said if found[what] != said[what]]:
        raise ValueError(f"the model does not fit its config: it has {', '.join(wrong)}")
    return Subject(model, env, about)


def from_run(run: pathlib.Path, seed: int | None = None) -> Subject:
    """Load the agent of a run, of its first seed if none is given.

    Raises:
        ModuleNotFoundError, OSError, ValueError: if it cannot be loaded; see `popgym_arcade.baselines.load`.
    """
    agent = subject(*baselines.load(run, seed))
    return agent._replace(about=agent.about._replace(run=run.resolve().name))


def about_run(run: pathlib.Path) -> About:
    """Read what is said of a run, without its agent.

    Raises:
        OSError, ValueError: if it cannot be read; see `popgym_arcade.baselines.load`.
    """
    return described(configs.read_config(runs.find(run) / runs.CONFIG))


def described(config: Any) -> About:
    """Read what a config says; see `subject`.

    Raises:
        TypeError: if a value has the wrong type.
        ValueError: if a key is missing, or the game or the memory is unknown; the error names the closest.
    """
    if isinstance(config, Mapping):
        for key in _KEYS:
            if key not in config:
                raise ValueError(
                    f"config has no {key}, but {checks.closest(key, map(str, config)) if config else 'nothing'}"
                )
        env_id, partial_obs, memory, seed = (config[key] for key in _KEYS)
        other_rules = ""
    else:
        env_id, partial_obs, memory, seed = config.env_id, config.partial_obs, config.memory, config.seed
        other_rules = config.other_rules
    popgym_arcade.make(env_id)  # raises for unknown names
    if not isinstance(partial_obs, bool | np.bool_):
        raise TypeError(f"PARTIAL must be True or False, got {partial_obs!r}")
    return About(env_id, bool(partial_obs), checked_name(memory, SMALL), (int(seed),), other_rules)

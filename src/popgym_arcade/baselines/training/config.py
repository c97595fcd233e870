"""The config of a run: environment, network, algorithm and seeds. The same config trains the same agent."""

import dataclasses
import functools
import pathlib
from typing import Any, Generic, Literal, TypeVar

import jax
import numpy as np
from jaxtyping import Array, UInt32
from tyro.conf import Suppress

import popgym_arcade
from popgym_arcade import checks, files, registration
from popgym_arcade.baselines.algorithm import Algorithm, check_counts
from popgym_arcade.baselines.dqn import DQN
from popgym_arcade.baselines.model.builder import ActorCritic, ActorCriticRNN, MemoryNetwork, QNetwork, QNetworkRNN
from popgym_arcade.baselines.model.memory import SMALL, checked_name
from popgym_arcade.baselines.ppo import PPO
from popgym_arcade.baselines.pqn import PQN
from popgym_arcade.baselines.training import compiling
from popgym_arcade.environment import VIEWS, Environment, view_name

ALGORITHMS: dict[str, type[Algorithm]] = {"pqn": PQN, "ppo": PPO, "dqn": DQN}

_OF_MEMORIES = ("window_size", "horizon", "capacity_of")
"""Settings that some memories have, and the network without any has not."""
_FORMER = {"env_version": 0, "muon": False, "bootstrap_truncated": True}
"""Settings of configs from before they were written down."""

A = TypeVar("A", bound=Algorithm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Generic[A]):
    """A training run."""

    env_id: str
    """The environment, such as NavigatorEasy."""
    view: Literal["mdp", "pomdp"] = "mdp"
    """The view to train in."""
    obs_size: int = 128
    """Height and width of the frames in pixels, 64 to 512."""
    memory: str = "none"
    """The memory: a name such as lru, gru or mingru (`popgym_arcade.baselines.model.memory.memory_names()` lists all); none,
    which has the inputs and the capacity of the memories and remembers nothing; or none-small, the paper's smaller
    network without memory."""
    encoder: Literal["conv", "patch", "keypoint"] = "conv"
    """The encoder of frames: conv is the paper's network; patch and keypoint are small ones for CPUs."""
    memory_size: int = 512
    """The width of the memory's layers."""
    layers: int = 2
    """The number of layers of the memory."""
    hidden_size: int = 256
    """The width of what comes before the last linear map."""
    window_size: int | None = None
    """The number of frames that attention and Stack look back (by default 20 and 4; the paper has 128)."""
    horizon: int | None = None
    """For GRU, LRU and MinGRU: over how many steps they hold what they see, before training: the slowest unit over so many,
    the fastest over 2 (by default as in memax, where most forget within a few steps)."""
    capacity_of: str | None = None
    """For the memory none: as many parameters as this memory has (by default lru)."""
    seed: int = 0
    """The first seed."""
    num_seeds: int = 1
    """The number of seeds, each trained to an agent of its own."""
    env_version: Suppress[int | None] = None
    """The version of the game's rules, known of a run that was read; None is today's, under which all are trained."""
    algorithm: A

    def __post_init__(self) -> None:
        """Spell the names of memories in the one way, and check the settings.

        Raises:
            TypeError: if a setting has the wrong type.
            ValueError: if there is no such view or memory, or a number is out of range.
        """
        if not isinstance(self.algorithm, Algorithm):
            kinds = ", ".join(f"{kind.__name__}()" for kind in ALGORITHMS.values())
            raise TypeError(f"algorithm must be such as {kinds}, got {self.algorithm!r}")
        if self.view not in VIEWS:
            raise ValueError(f"view must be {' or '.join(VIEWS)}, got {self.view!r}")
        checks.fields(self)
        object.__setattr__(self, "memory", checked_name(self.memory, SMALL))
        if self.capacity_of is not None:
            object.__setattr__(self, "capacity_of", checked_name(self.capacity_of))
        check_counts(self, "obs_size", "memory_size", "layers", "hidden_size", "window_size", "horizon", "num_seeds")
        if not 0 <= self.seed <= checks.SEEDS - self.num_seeds:
            raise ValueError(f"seeds must be from 0 to {checks.SEEDS - 1}, got {self.num_seeds} from {self.seed} on")

    @property
    def partial_obs(self) -> bool:
        """Whether it is trained in the POMDP view."""
        return self.view == "pomdp"

    @property
    def algorithm_name(self) -> str:
        """The name of the algorithm."""
        return next(name for name, kind in ALGORITHMS.items() if type(self.algorithm) is kind)

    @property
    def seeds(self) -> range:
        """All seeds."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def without_seeds(self) -> "Config[A]":
        """The same config for whatever seeds: its programs are theirs."""
        return dataclasses.replace(self, seed=0, num_seeds=1)

    @property
    def title(self) -> str:
        """The title of the run, for people."""
        title = f"{self.env_id} {view_name(self.partial_obs)}, {self.algorithm_name.upper()}, memory {self.memory}"
        return f"{title}, trained under {self.other_rules}" if self.other_rules else title

    @property
    def other_rules(self) -> str:
        """Which rules it was trained under, if they are not today's, else ""."""
        return registration.other_rules(self.env_id, self.env_version)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return the names of the settings in which this config differs from another one, given as by `to_dict`."""
        other = _FORMER | other
        return [name for name, value in self.to_dict().items() if other.get(name) != value]

    def make_env(self, partial_obs: bool | None = None) -> tuple[Environment[Any, Any], Any]:
        """Return the environment and its parameters, in the view that is trained in, or in one given.

        Raises:
            ValueError: if there is no such game, or no frames of this size.
        """
        partial_obs = self.partial_obs if partial_obs is None else partial_obs
        return popgym_arcade.make(self.env_id, partial_obs=partial_obs, obs_size=self.obs_size)

    def make_network(self, seed: int) -> MemoryNetwork:
        """Return the network, with its first weights.

        Raises:
            ValueError: if there is no such memory or encoder, or a size does not fit.
        """
        return _network_maker(self.without_seeds)(np.uint32(seed))

    def network_shapes(self) -> MemoryNetwork:
        """Return the network with shapes in place of its weights, which take a while to draw; see `make_network`."""
        # Of the same program, so that the function is traced once.
        return jax.eval_shape(_network_maker(self.without_seeds), np.uint32(0))

    def _make_network(self, seed: UInt32[Array, ""]) -> MemoryNetwork:
        key = jax.random.fold_in(jax.random.key(seed), 0)
        num_actions = self.make_env()[0].num_actions
        is_critic = isinstance(self.algorithm, PPO)
        sizes: dict[str, Any] = {"obs_size": self.obs_size, "encoder": self.encoder, "hidden_size": self.hidden_size}
        if self.memory == SMALL:
            for name in _OF_MEMORIES:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for memories, not for {SMALL}")
            return (ActorCritic if is_critic else QNetwork)(num_actions, key, **sizes)
        sizes |= {name: getattr(self, name) for name in ("memory_size", "layers", *_OF_MEMORIES)}
        return (ActorCriticRNN if is_critic else QNetworkRNN)(num_actions, key, self.memory, **sizes)

    def to_dict(self) -> dict[str, Any]:
        """Return the config, flat, fit for JSON; `from_dict` reads it."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "algorithm"}
        if self.env_version is None:
            own["env_version"] = self.make_env()[0].version
        return {"algorithm": self.algorithm_name} | own | dataclasses.asdict(self.algorithm)


@functools.lru_cache
def _network_maker(config: Config[Any]) -> jax.stages.Wrapped:
    """Return what makes the networks of a config, in one program, which is shared by all seeds."""
    return jax.jit(config._make_network, compiler_options=compiling.once())


def from_dict(content: Any) -> Config[Any]:
    """Return the config that `Config.to_dict` described; settings may be left out where there is a default.

    Raises:
        ValueError: if a name is unknown or missing, or a setting has the wrong type or is out of range.
    """
    if not isinstance(content, dict):
        raise ValueError("a config must be an object of names and values")
    if "algorithm" not in content:
        raise ValueError("a config must name an algorithm")
    settings = dict(content)
    kind = ALGORITHMS[checks.one_of("algorithm", settings.pop("algorithm"), ALGORITHMS)]
    hyperparameters = [field.name for field in dataclasses.fields(kind)]
    own = [field.name for field in dataclasses.fields(Config) if field.name != "algorithm"]
    for name in settings:
        checks.one_of("setting", name, (*own, *hyperparameters))
    if "env_id" not in settings:
        raise ValueError("a config must name an environment: env_id")
    try:
        algorithm = kind(**{name: value for name, value in settings.items() if name in hyperparameters})
        config = Config(algorithm=algorithm, **{name: value for name, value in settings.items() if name in own})
    except TypeError as error:
        raise ValueError(str(error)) from None
    return config if config.other_rules else dataclasses.replace(config, env_version=None)


def read_config(path: pathlib.Path) -> Config[Any]:
    """Read the config of a run, or another one, from a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is none.
    """
    content = files.read_json(path)
    try:
        return from_dict(_FORMER | content if isinstance(content, dict) else content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def preset(name: str, algorithm: str, env_id: str, memory: str) -> dict[str, Any]:
    """Return the settings of a preset, as far as they differ from the defaults.

    Args:
        name: "paper", the settings of the paper's code (arXiv 2503.01450), or "cpu", which learns in minutes on two cores.
        algorithm: one of ALGORITHMS.
        env_id: the environment; the paper trains some for longer, and PPO's `cpu` has other settings for two games.
        memory: the memory; the paper's attention looks back further, and PPO's `cpu` has other settings for networks without
            memory, and compares none with a GRU.
    """
    return PRESETS[name](algorithm, env_id, memory)


def _paper(algorithm: str, env_id: str, memory: str) -> dict[str, Any]:
    is_short = env_id.startswith(("CartPole", "NoisyCartPole", "AutoEncode"))
    settings: dict[str, Any] = {"total_timesteps": 1e7 if is_short else 2e7}
    if memory.lower().startswith("attention"):
        settings["window_size"] = 128
    if algorithm != "ppo":
        settings |= {"learning_rate_steps": 2e6, "epsilon_steps": 8e6}
    if algorithm == "dqn":
        settings["target_interval"] = 0
    return settings


def _cpu(algorithm: str, env_id: str, memory: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "obs_size": 64,
        "encoder": "keypoint",
        "memory_size": 128,
        "hidden_size": 128,
        "layers": 1,
        "num_envs": 64,
        "num_steps": 32,
        "epochs": 2,
        "minibatches": 8,
        "total_timesteps": 1.5e6,
        "learning_rate": 1e-3,
    }
    if algorithm == "ppo":
        settings |= {
            "num_envs": 32,
            "num_steps": 128,
            "epochs": 4,
            "learning_rate": 5e-4,
            "gamma": 0.997,
            "vf_coef": 5.0,
        }
        if env_id.startswith("BattleShip"):
            # Shooting without looking costs: with a small bonus agents stop shooting before they have learned to look.
            settings |= {"ent_coef": 0.1, "last_ent_coef": 0.01}
        elif memory.lower() in ("none", SMALL) or env_id.startswith("MineSweeper"):
            # With these the MDPs of CountRecall and AutoEncode are learned several times as fast, and a memory learns more
            # in MineSweeper; in CountRecall and CartPole memories did worse.
            settings |= {"muon": True, "learning_rate": 2e-3, "gamma": 0.99, "gae_lambda": 0.9}
            settings |= {"bootstrap_truncated": False, "ent_coef": 0.003, "last_ent_coef": 0.0}
        if memory.lower() == "none":
            settings["capacity_of"] = "gru"  # with which it is compared
    else:
        settings |= {"last_learning_rate": 1e-4, "gamma": 0.9}
    if algorithm == "pqn":
        settings["td_lambda"] = 0.65
    return settings


PRESETS = {"paper": _paper, "cpu": _cpu}

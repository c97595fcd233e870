"""Agents with and without memory that learn to play the games: the extra `baselines`.

    from popgym_arcade.baselines import PQN, Config, train

    folder = train(Config(env_id="NavigatorEasy", view="pomdp", memory="lru", algorithm=PQN()))

Networks are in `popgym_arcade.baselines.model.builder`, memories in `popgym_arcade.baselines.model.memory`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from popgym_arcade.baselines.dqn import DQN
    from popgym_arcade.baselines.evaluation import evaluate, greedy
    from popgym_arcade.baselines.ppo import PPO
    from popgym_arcade.baselines.pqn import PQN
    from popgym_arcade.baselines.training.config import Config
    from popgym_arcade.baselines.training.run import load
    from popgym_arcade.baselines.training.trainer import Options, ResumeOptions, TrainingError, resume, train

__all__ = [
    "DQN",
    "PPO",
    "PQN",
    "Config",
    "Options",
    "ResumeOptions",
    "TrainingError",
    "evaluate",
    "greedy",
    "load",
    "resume",
    "train",
]

_MODULES = {
    "DQN": "dqn",
    "PPO": "ppo",
    "PQN": "pqn",
    "Config": "training.config",
    "evaluate": "evaluation",
    "greedy": "evaluation",
    "load": "training.run",
    "Options": "training.trainer",
    "ResumeOptions": "training.trainer",
    "TrainingError": "training.trainer",
    "resume": "training.trainer",
    "train": "training.trainer",
}


def __getattr__(name: str) -> Any:
    # Late: a network alone needs neither the trainer nor what the trainer needs.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

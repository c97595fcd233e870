"""Our games as a `VecEnv` of Stable-Baselines3 that steps in one compiled call.

from stable_baselines3 import PPO
from popgym_arcade.adapters.stable_baselines3 import ArcadeVecEnv

PPO("CnnPolicy", ArcadeVecEnv("NavigatorEasy", 64, partial_obs=True)).learn(1_000_000)
"""

from typing import Any

import numpy as np

from popgym_arcade.adapters.gymnasium import ArcadeVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "popgym_arcade.adapters.stable_baselines3 needs Stable-Baselines3: pip install stable-baselines3"
    ) from error


class ArcadeVecEnv(VecEnv):
    """A batch of one game, for Stable-Baselines3 and sb3-contrib.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        num_envs: how many.
        options: `partial_obs`, `obs_size`, `render_mode`, `params` and `max_episode_steps` of
            `popgym_arcade.adapters.gymnasium.ArcadeVectorEnv`.

    Observations: uint8[num_envs, obs_size, obs_size, 3]. Rewards: float32[num_envs]. Where an episode ends, the next one's
    first frame is returned. The `infos`, a dictionary for each environment, hold `score`, the return of the episode in
    percent, `TimeLimit.truncated`, whether the clock ended the episode and the rules did not, and, where it ended,
    `terminal_observation`, its last frame.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is not one of those allowed.
    """

    def __init__(self, env_id: str, num_envs: int = 1, **options: Any) -> None:
        self.envs = ArcadeVectorEnv(env_id, num_envs, autoreset_mode="SameStep", arrays="numpy", **options)
        """The batch inside."""
        super().__init__(self.envs.num_envs, self.envs.single_observation_space, self.envs.single_action_space)
        self._actions: Any = None

    def reset(self) -> np.ndarray:
        """Start an episode in each environment: uint8[num_envs, obs_size, obs_size, 3]. `seed` says which ones."""
        frames, infos = self.envs.reset(seed=None if None in self._seeds else self._seeds)
        self.reset_infos = [{"score": score} for score in infos["score"].tolist()]
        self._reset_seeds()
        return frames.copy()

    def step_async(self, actions: np.ndarray) -> None:
        """Take actions, int[num_envs], each from 0 to 4, for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take one step in each environment: (observations, rewards, dones, infos)."""
        frames, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        dones = terminated | truncated
        scores, cut = infos["score"], truncated & ~terminated
        if dones.any():
            scores = np.where(dones, infos["final_info"]["score"], scores)
        each = [{"score": s, "TimeLimit.truncated": c} for s, c in zip(scores.tolist(), cut.tolist(), strict=True)]
        for number in np.flatnonzero(dones):
            each[number]["terminal_observation"] = infos["final_obs"][number].copy()  # torch wants to be able to write
        return frames.copy(), rewards, dones, each

    def close(self) -> None:
        """Do nothing that is needed."""
        self.envs.close()

    def get_images(self) -> list[np.ndarray]:
        """Return the frames, for `render`."""
        return list(self.envs.render() or ())

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the batch, which its environments share, for each of them."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the environments are made as they are to stay, and share what they have."""
        raise AttributeError(f"{attr_name} cannot be set: give what is to be changed to ArcadeVecEnv")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
        """Refuse: environments of a batch have no methods of their own."""
        raise AttributeError(f"there is no {method_name}: environments of a batch have no methods of their own")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say no: wrap the batch, e.g. in `VecMonitor`."""
        return [False for _ in self._get_indices(indices)]

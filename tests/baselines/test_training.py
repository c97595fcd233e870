"""Training runs, from the command line and from Python."""

import dataclasses
import errno
import json
import math
import os
import pathlib
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from popgym_arcade import baselines, cli
from popgym_arcade.baselines import checkpoint
from popgym_arcade.baselines.checkpoint import CheckpointError
from popgym_arcade.baselines.model.builder import QNetworkRNN
from popgym_arcade.baselines.pqn import PQN
from popgym_arcade.baselines.training import command as commands
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import devices, logs, results, run, trainer
from popgym_arcade.baselines.training.config import ALGORITHMS, Config
from popgym_arcade.baselines.training.trainer import Options, TrainingError
from popgym_arcade.introspection.subject import subject
from tests.baselines.test_checkpoint import array, rewrite

SMALL: dict[str, Any] = {
    "env_id": "AutoEncodeEasy",
    "view": "pomdp",
    "memory": "mingru",
    "obs_size": 64,
    "encoder": "patch",
    "memory_size": 8,
    "layers": 1,
    "hidden_size": 8,
    "num_envs": 4,
    "num_steps": 16,
    "minibatches": 2,
    "epochs": 1,
    "total_timesteps": 192,
    "learning_rate": 1e-3,
}
UPDATES = 3
QUIET = Options(tensorboard=False, video=False, eval_episodes=2)


def small(algorithm: str = "pqn", **settings: Any) -> Config[Any]:
    return configs.from_dict({"algorithm": algorithm, **SMALL, **settings})


def arguments(settings: dict[str, Any]) -> list[str]:
    words = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def weights(folder: pathlib.Path, seed: int | None = None) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(baselines.load(folder, seed)[0])]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def fail_with(number: int) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Many tests run the same programs: compiled ones are kept."""
    compilation_cache.set_cache_dir(str(tmp_path_factory.mktemp("compiled")))
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished run of two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    command = ["train", "pqn", *arguments(SMALL), "--num-seeds", "2", "--eval-episodes", "5", "--run", str(folder)]
    assert cli.main(command) == 0
    return folder


def test_what_a_run_leaves(trained: pathlib.Path) -> None:
    for name in ("config.json", "model.eqx", "model-1.eqx", "curve.png", "agent.mp4"):
        assert (trained / name).stat().st_size > 100, name
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [(line["steps"], line["seed"]) for line in lines] == [(64 * n, seed) for n in (1, 2, 3) for seed in (0, 1)]
    assert {"loss", "q", "gradient_norm", "episodes", "mean_return", "seconds", "steps_per_second"} < set(lines[0])
    results = json.loads((trained / "evaluation.json").read_text())["results"]
    for seed, result in enumerate(results):
        assert result["seed"] == seed and result["view"] == "pomdp" and result["episodes"] == 5
        low, high = result["interval"]
        assert low <= result["mean"] <= high
    assert not np.array_equal(weights(trained)[0], weights(trained, 1)[0])


def test_tensorboard(trained: pathlib.Path) -> None:
    for seed in (0, 1):
        (events,) = (trained / "tensorboard" / f"seed-{seed}").iterdir()
        assert b"gradient_norm" in events.read_bytes()


def test_each_seed_is_an_agent_of_its_own(
    trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trainer.train(small(seed=1), dataclasses.replace(QUIET, run=tmp_path / "alone"))
    assert_same(weights(folder), weights(trained, 1))
    monkeypatch.setattr(PQN, "update", fail_with(errno.EIO))  # it was traced for any seed
    folder = trainer.train(small(seed=2), dataclasses.replace(QUIET, run=tmp_path / "another"))
    assert any(np.any(one != other) for one, other in zip(weights(folder), weights(trained, 1), strict=True))


def test_a_written_config_trains_the_same_agent(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config, folder = str(trained / "config.json"), tmp_path / "again"
    quiet = ["--no-tensorboard", "--no-video", "--eval-episodes", "2"]
    assert cli.main(["train", "--config", config, "--num-seeds", "1", *quiet, "--run", str(folder)]) == 0
    assert_same(weights(folder), weights(trained))


def test_other_rules_are_named(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    former = tmp_path / "former"
    shutil.copytree(trained, former)
    content = json.loads((trained / "config.json").read_text())
    assert content["env_version"] == 0
    content["env_id"] = "NavigatorEasy"
    del content["env_version"]  # it was not written down while there was one version, 0
    (former / "config.json").write_text(json.dumps(content))
    rules = "version 0 of the rules of NavigatorEasy, not 1, today's"
    with pytest.warns(UserWarning, match=f"former was trained under {rules}"):
        model, config = baselines.load(former)
    assert config.env_version == 0 and config.title.endswith(f"trained under {rules}")
    assert subject(model, config).about.title.endswith(f"trained under {rules}")
    with pytest.raises(ValueError, match=f"former was begun under {rules}: train anew"):
        trainer.resume(former)
    with pytest.warns(UserWarning, match=rf"config.json was made under {rules}; the new run is under today's"):
        new = commands.parse(["--config", str(former / "config.json")]).agent
    assert new == configs.from_dict(content | {"env_version": 1}) and not new.other_rules


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_other_algorithms(algorithm: str, tmp_path: pathlib.Path) -> None:
    config = small(algorithm, memory="none-small", total_timesteps=64)
    folder = trainer.train(config, dataclasses.replace(QUIET, run=tmp_path / "run"))
    model, loaded = baselines.load(folder)
    assert loaded == config
    assert jax.tree.structure(model) == jax.tree.structure(config.make_network(0))


def test_evaluate(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for view in ([], ["--view", "pomdp"], ["--view", "mdp"]):
        path = tmp_path / f"{len(told)}.json"
        assert cli.main(["evaluate", str(trained), "--episodes", "70", *view, "--json", str(path)]) == 0
        told.append(json.loads(path.read_text())["results"])
    out = capsys.readouterr().out
    assert "played in the POMDP, 70 episodes" in out and "played in the MDP, 70 episodes" in out
    assert told[0] == told[1] != told[2]
    assert told[0][0]["episodes"] == 70
    path = tmp_path / "one.json"
    assert cli.main(["evaluate", str(trained), "--episodes", "70", "--seed", "1", "--json", str(path)]) == 0
    assert json.loads(path.read_text())["results"] == told[0][1:]
    assert cli.main(["evaluate", str(trained), "--seed", "2"]) == 1
    assert "has the seeds 0, 1, not 2" in capsys.readouterr().err


def test_histogram() -> None:
    assert results.histogram(np.array([0.0, 0.0, 1.0]), width=4) == "  0.00 to  0.50  ████ 2\n  0.50 to  1.00  ██   1"
    assert results.histogram(np.ones(3), width=4) == "  1.00  ████ 3"


def test_curves_begin_where_the_first_episode_ends() -> None:
    lines = [
        {"steps": steps, "seed": 0, "episodes": episodes, "mean_return": mean}
        for steps, episodes, mean in ((10, 0, math.nan), (20, 2, 1.0), (30, 0, math.nan), (39, 1, 3.0))
    ]
    places, mean = results.smooth(lines, points=4)
    np.testing.assert_allclose(places, 39 * np.array([1, 3, 5, 7]) / 8)
    np.testing.assert_allclose(mean, [[np.nan, np.nan, 1, 3]])


def test_equinox_reads_the_agent(tmp_path: pathlib.Path) -> None:
    """What is trained with the default sizes is the network that the names alone make."""
    config = Config(env_id="NavigatorEasy", memory="lru", algorithm=PQN())
    config.network_shapes()  # this must not disturb what is made afterwards
    run.save_model(tmp_path, config, 0, config.make_network(3))
    network = QNetworkRNN(5, jax.random.PRNGKey(0), "lru")
    model = eqx.tree_deserialise_leaves(tmp_path / "model.eqx", network)
    assert_same(*([np.asarray(leaf) for leaf in jax.tree.leaves(each)] for each in (model, config.make_network(3))))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_config_round_trip(name: str) -> None:
    config = small(name)
    assert configs.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.usefixtures("unchecked")
def test_configs_in_python_are_checked_too() -> None:
    wrong: Any = "both"
    with pytest.raises(ValueError, match="view must be mdp or pomdp, got 'both'"):
        Config(env_id="NavigatorEasy", view=wrong, algorithm=PQN())


def test_names_of_memories_are_spelled_in_one_way() -> None:
    config = small(memory="NONE", capacity_of="Attention_RoPE")
    assert (config.memory, config.capacity_of) == ("none", "attention-rope")
    with pytest.raises(ValueError, match="did you mean none-small, none or "):
        small(memory="none-smal")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", configs.PRESETS)
def test_presets(name: str, algorithm: str) -> None:
    for env, steps in (("CartPoleEasy", 1e7), ("NavigatorEasy", 2e7)):
        settings = configs.preset(name, algorithm, env, "lru")
        config = configs.from_dict({"algorithm": algorithm, "env_id": env, "memory": "lru", **settings})
        assert config.algorithm.total_timesteps == (steps if name == "paper" else 1.5e6)
        assert config.obs_size == (128 if name == "paper" else 64)


def test_what_the_preset_has_for_a_game_and_a_memory() -> None:
    plain, none = (configs.preset("cpu", "ppo", "SkittlesEasy", memory) for memory in ("gru", "None"))
    assert none.pop("capacity_of") == "gru"
    horizon = {"gamma": 0.99, "gae_lambda": 0.9, "bootstrap_truncated": False}
    reflex = {"muon": True, "learning_rate": 2e-3, "ent_coef": 0.003, "last_ent_coef": 0.0, **horizon}
    assert none == configs.preset("cpu", "ppo", "SkittlesEasy", "none-small") == plain | reflex
    assert configs.preset("cpu", "ppo", "MineSweeperEasy", "gru") == plain | reflex
    assert configs.preset("cpu", "ppo", "MineSweeperEasy", "none") == none | {"capacity_of": "gru"}
    explores = plain | {"ent_coef": 0.1, "last_ent_coef": 0.01}
    assert configs.preset("cpu", "ppo", "BattleShipHard", "gru") == explores
    assert configs.preset("cpu", "ppo", "BattleShipHard", "none") == explores | {"capacity_of": "gru"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"algorithm": "pnq"}, "unknown algorithm 'pnq'; did you mean pqn, "),
        ({"foo": 1}, "unknown setting 'foo'; did you mean "),
        ({"lerning_rate": 1}, "unknown setting 'lerning_rate'; did you mean learning_rate"),
        ({"num_envs": 2.5}, "num_envs must be a whole number, got 2.5"),
        ({"view": "full"}, "view must be mdp or pomdp, got 'full'"),
        ({"encoder": "cnn"}, "encoder must be conv, patch or keypoint, got 'cnn'"),
        ({"window_size": "many"}, "window_size must be a whole number or null"),
        ({"gamma": 2}, "gamma must be from 0 to 1"),
        ({"td_lambda": -1}, "td_lambda must be from 0 to 1"),
        ({"epsilon": 3}, "epsilon must be from 0 to 1"),
        ({"burn_in": 16}, "burn_in must be at least 0 and below num_steps"),
        ({"num_steps": 0}, "num_steps must be from 1 to 2147483647, got 0"),
        ({"learning_rate": -1}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be a number of 32 bits, got nan"),
        ({"learning_rate": 10**400}, "learning_rate must be a number of 32 bits, got 1000"),
        ({"total_timesteps": math.inf}, "total_timesteps must be a number of 32 bits, got inf"),
        ({"total_timesteps": 1e10}, "total_timesteps must be from 1 to 2147483647"),
        ({"epsilon_steps": -1}, "epsilon_steps must be from 1"),
        ({"algorithm": "dqn", "replay_size": 10**20}, "replay_size must be from 1 to 2147483647"),
        ({"layers": 10**20}, "layers must be from 1 to 2147483647"),
        ({"num_seeds": 0}, "num_seeds must be from 1"),
        ({"seed": -1}, "seeds must be from 0 to 4294967295, got 1 from -1 on"),
        ({"seed": 10**20}, "seeds must be from 0 to 4294967295"),
        ({"seed": 2**32 - 1, "num_seeds": 2}, "seeds must be from 0 to 4294967295, got 2 from 4294967295 on"),
        ({"algorithm": ["pqn"]}, r"unknown algorithm \['pqn'\]; did you mean pqn"),
        ({"algorithm": "ppo", "learning_rate": 0}, "learning_rate must be positive"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_configs(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        configs.from_dict({"algorithm": "pqn", **SMALL, **settings})


@pytest.mark.usefixtures("unchecked")
def test_wrong_types() -> None:
    wrong: Any = 8.5, "pqn", PQN
    with pytest.raises(TypeError, match=r"num_envs must be a whole number, got 8.5"):
        PQN(num_envs=wrong[0])
    for algorithm in wrong[1:]:
        with pytest.raises(TypeError, match=r"algorithm must be such as PQN\(\), PPO\(\), DQN\(\), got "):
            Config(env_id="NavigatorEasy", algorithm=algorithm)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"env_id": "NavigatorEazy"}, "NavigatorEasy"),
        ({"memory": "lur"}, "did you mean lru"),
        ({"obs_size": 63}, "64"),
        ({"num_envs": 3}, "must be a multiple of minibatches"),
        ({"layers": 1001}, "layers must be at most 1000"),
        ({"memory": "none-small", "window_size": 4}, "window_size is for memories, not for none-small"),
        ({"memory": "none-small", "horizon": 4}, "horizon is for memories, not for none-small"),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(settings: dict[str, Any], complaint: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=complaint):
        trainer.train(small(**settings), dataclasses.replace(QUIET, run=tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_no_option_is_ignored(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "ppo", *arguments(SMALL), "--epsilon", "0.5", "--run", str(tmp_path / "run")])
    assert "--epsilon" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "--resume", str(tmp_path), "--run", str(tmp_path)])
    assert "--run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "pqn", *arguments(SMALL | {"total_timesteps": math.inf}), "--run", str(tmp_path / "run")])
    assert "total_timesteps must be a number" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "pqn", "--env-id", "NavigatorEasy", "--preset", "gpu"])
    assert "invalid choice 'gpu'" in capsys.readouterr().err
    for command in (
        ["pnq"],
        ["pqn"],
        ["pqn", "--env-id", "NavigatorEasy", "--num-processes", "2"],
        ["pqn", "--env-id", "NavigatorEasy", "--coordinator", "127.0.0.1:1"],
        ["--resume", str(tmp_path)],
    ):
        assert cli.main(["train", *command]) == 1
    for address in ("nohost", ":1", "host:", "host:port", "host:99999"):
        two = ["--coordinator", address, "--num-processes", "2", "--process-id", "1"]
        assert cli.main(["train", "pqn", "--env-id", "NavigatorEasy", *two]) == 1
        assert f"--coordinator must be HOST:PORT, or auto, got {address!r}" in capsys.readouterr().err
    assert cli.main(["train"]) == 2
    assert not list(tmp_path.iterdir())


def test_there_must_be_room(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = dataclasses.replace(QUIET, run=tmp_path / "run")
    with pytest.raises(MemoryError, match="of it the replay"):
        trainer.train(small("dqn", replay_size=10**9), quiet)
    with pytest.raises(MemoryError, match="training needs"):  # of which nothing is made
        trainer.train(small(memory="gru", memory_size=10**6), quiet)
    with pytest.raises(MemoryError, match="the network needs .* GB"):
        trainer.train(small(memory_size=4096, layers=10**5), quiet)
    with pytest.raises(MemoryError, match="training needs .* GB"):
        trainer.train(small(num_seeds=10**7), quiet)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(OSError, match="checkpoints need"):
        trainer.train(small(), quiet)
    assert not list(tmp_path.iterdir())


def test_a_missing_wandb_is_missed_at_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    sweep = ["sweep", "pqn", "--env-ids", "CartPoleEasy", "--folder", str(tmp_path / "sweep"), "--", "--wandb", "project"]
    train = ["train", "pqn", *arguments(SMALL), "--run", str(tmp_path / "run"), "--wandb", "project"]
    for command in (train, sweep):
        assert cli.main(command) == 1
        assert capsys.readouterr().err == "popgym-arcade: --wandb needs Weights & Biases: pip install wandb\n"
    assert not list(tmp_path.iterdir())


def test_a_run_can_go_on_where_it_began(
    trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the three checkpoints that must fit onto the disk two are there; what a kill has left does not count."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    sizes = [path.stat().st_size for path in checkpoint.steps(folder / "checkpoints")]
    assert len(sizes) == 2
    left = [folder / "checkpoints" / ".000000000003.npz.abcd_123", folder / ".config.json.abcd_123"]
    mine = [folder / ".mine.json", folder / "checkpoints" / ".notes.txt.abcd_123"]
    for path in left + mine:
        path.write_bytes(b"half")

    def prepare(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - free, free))
        with run.alone(folder):
            trainer._Training(small(num_seeds=2), QUIET, folder, devices.Layout(1))

    prepare(sizes[0])
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)
    with pytest.raises(OSError, match="checkpoints need"):
        prepare(sizes[0] // 2)


def test_a_folder_in_use_is_left_alone(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileExistsError, match="--resume"):
        trainer.train(small(), dataclasses.replace(QUIET, run=str(trained)))
    (tmp_path / ".config.json.abcd_123").write_text("{")  # killed in its first write: nothing is there yet
    with pytest.raises(ValueError, match="must be a multiple"):
        trainer.train(small(num_envs=3), dataclasses.replace(QUIET, run=tmp_path))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another"):
        trainer.train(small(), dataclasses.replace(QUIET, run=tmp_path))
    with pytest.raises(ValueError, match="is another run: num_seeds differ"):
        trainer.train(small(), dataclasses.replace(QUIET, run=trained, resumable=True))
    finished = dataclasses.replace(QUIET, run=trained, resumable=True)
    assert trainer.train(small(num_seeds=2), finished) == trained


def test_a_run_is_trained_by_one_process(
    trained: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fcntl = pytest.importorskip("fcntl")
    folder = tmp_path / "run"
    cut_off(trained, folder)
    told = f"popgym-arcade: {folder} is being trained by process {os.getpid()} on {platform.node()}\n"
    half = folder / "checkpoints" / ".000000000003.npz.abcd_123"  # another process writes it
    with run.alone(folder):
        half.touch()
        assert cli.main(["train", "--resume", str(folder)]) == 1
    assert capsys.readouterr().err == told and half.exists()
    new = tmp_path / "new"
    with run.alone(new):
        assert cli.main(["train", "pqn", *arguments(SMALL), "--run", str(new)]) == 1
    assert capsys.readouterr().err == told.replace(str(folder), str(new))
    begun = trainer._Training.__init__

    def slow(*given: Any) -> None:
        begun(*given)
        shutil.copy(trained / "config.json", new)

    monkeypatch.setattr(trainer._Training, "__init__", slow)
    with pytest.raises(FileExistsError, match="--resume"):
        trainer.train(small(), dataclasses.replace(QUIET, run=new))
    monkeypatch.setattr(fcntl, "flock", fail_with(errno.ENOLCK))  # some network file systems
    with run.alone(new), run.alone(new):
        pass


def test_devices_that_are_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=f"from 1 to {jax.local_device_count()}"):
        devices.Layout(1000)


def test_loading(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert trainer.resume(str(trained)) == trained  # it is finished
    for seed in (0, 1):
        assert baselines.load(trained, seed)[1] == small(seed=seed)
    with pytest.raises(FileNotFoundError, match="is no run"):
        baselines.load(tmp_path)
    with pytest.raises(ValueError, match="has the seeds 0, 1, not 2"):
        baselines.load(trained, 2)
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    content = bytearray((damaged / "model.eqx").read_bytes())
    content[-9] ^= 1  # a bit of a weight
    (damaged / "model.eqx").write_bytes(content)
    with pytest.raises(CheckpointError, match="model.eqx is damaged: its checksum is not the one in evaluation.json; if"):
        baselines.load(damaged)
    for told in ("{}", "[]", '{"checksums": {}}'):
        (damaged / "evaluation.json").write_text(told)
        with pytest.raises(CheckpointError, match="evaluation.json is damaged: it has no checksum of model.eqx"):
            baselines.load(damaged)
    (damaged / "evaluation.json").unlink()  # as where training stopped before its end
    (damaged / "model.eqx").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="damaged or does not fit"):
        baselines.load(damaged)
    other = configs.read_config(damaged / "config.json").to_dict() | {"memory_size": 16}
    (damaged / "config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="map_in.*weight.*has changed shape"):
        baselines.load(damaged, 1)
    (damaged / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="must name an algorithm"):
        baselines.load(damaged)
    (damaged / "config.json").write_text(json.dumps(other | {"env_id": "NavEasy"}))
    with pytest.raises(ValueError, match="^unknown environment 'NavEasy'"):
        baselines.load(damaged)
    model, config = baselines.load(trained)
    run.save_model(damaged, config, 0, jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), model))
    (damaged / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(CheckpointError, match="not finite"):
        baselines.load(damaged)
    for content in ("{", "[" * 100_000):
        (damaged / "config.json").write_text(content)
        with pytest.raises(ValueError, match="config.json is damaged"):
            baselines.load(damaged)
    (damaged / "config.json").write_text(json.dumps(other))
    (damaged / "model.eqx").unlink()
    with pytest.raises(FileNotFoundError, match="--resume"):
        baselines.load(damaged)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    config = small(learning_rate=1e30, last_learning_rate=1e30)
    with pytest.raises(TrainingError, match="is not finite in update .* The weights of update 0 are in"):
        trainer.train(config, dataclasses.replace(QUIET, run=folder))
    assert_same(weights(folder), [np.asarray(leaf) for leaf in jax.tree.leaves(config.make_network(0))])
    assert not run.is_finished(folder)


def cut_off(trained: pathlib.Path, folder: pathlib.Path) -> None:
    """Make of a finished run one that was killed while its last update was written."""
    shutil.copytree(trained, folder)
    for name in ("model.eqx", "model-1.eqx", "evaluation.json"):
        (folder / name).unlink()
    newest = checkpoint.steps(folder / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"seed": 0, "ste')


def test_resuming_from_the_last_good_checkpoint(
    trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cut"
    cut_off(trained, folder)
    quiet = ["--no-tensorboard", "--no-video", "--eval-episodes", "2"]
    order: list[str] = []
    with monkeypatch.context() as patch:
        for owner, name in ((logs.JsonLines, "sync"), (checkpoint, "save_step")):
            call = getattr(owner, name)
            patch.setattr(owner, name, lambda *given, name=name, call=call: order.append(name) or call(*given))
        assert cli.main(["train", "--resume", str(folder), *quiet, "--checkpoint-minutes", "1e-9"]) == 0
    assert order == (UPDATES + 1) * ["sync", "save_step"]  # no checkpoint knows more than the metrics on the disk
    assert "an older checkpoint is used" in capsys.readouterr().err
    for seed in (0, 1):
        assert_same(weights(folder, seed), weights(trained, seed))
    steps = [json.loads(line)["steps"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [64, 64, 128, 128, 192, 192]
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert "is finished" in capsys.readouterr().err
    (folder / "model-1.eqx").unlink()  # a lost agent is made again
    with monkeypatch.context() as patch:  # and killed before it is evaluated: the old checksums are no longer there
        patch.setattr(results, "curve", fail_with(errno.EIO))
        assert cli.main(["train", "--resume", str(folder), *quiet]) == 1
    assert_same(weights(folder, 1), weights(trained, 1))
    assert not run.is_finished(folder)
    assert cli.main(["train", "--resume", str(folder), *quiet]) == 0
    assert_same(weights(folder, 1), weights(trained, 1))


def test_a_full_disk(
    trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained / "config.json", folder)

    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    (folder / "checkpoints").mkdir()
    assert cli.main(["train", "--resume", str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'checkpoints' / '000000000000.npz'} cannot be written: No space left on device" in line
    assert f"train --resume {folder} goes on" in line
    assert not list((folder / "checkpoints").iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_signals_that_ask_to_stop() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with trainer._stop_signals() as came:
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
                signal.raise_signal(number)
            assert came == [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
        with trainer._stop_signals() as came:
            signal.raise_signal(signal.SIGHUP)
            assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"updates": -5}, "-5 updates, its learners 3"),
        ({"updates": None}, "None updates"),
        ({"seconds": "long"}, "'long' seconds"),
        ({"seconds": math.nan}, "nan seconds"),
        ({"config": None}, "lack the config"),
    ],
)
def test_metadata_that_make_no_sense(
    change: dict[str, Any],
    complaint: str | None,
    trained: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(trained, folder)
    newest = checkpoint.steps(folder / "checkpoints")[-1]
    rewrite(newest, {"meta.npy": array(json.dumps(checkpoint.read_meta(newest) | change).encode())})
    training = trainer._Training(configs.read_config(folder / "config.json"), QUIET, folder, devices.Layout(1))
    training.go_on()
    assert training.updates == (0 if complaint else UPDATES)
    err = capsys.readouterr().err
    assert err == "" if complaint is None else (complaint in err and str(newest) in err and err.count("\n") == 1)


def test_foreign_checkpoints(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "cut"
    cut_off(trained, folder)
    other = configs.read_config(folder / "config.json").to_dict() | {"hidden_size": 16}
    (folder / "config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="belongs to something else"):
        trainer.resume(folder, QUIET)
    (folder / "config.json").write_text(json.dumps(other | {"hidden_size": 8, "learning_rate": 1.0}))
    with pytest.raises(CheckpointError, match="learning_rate differ"):
        trainer.resume(folder, QUIET)

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.checks import SEEDS
from popgym_arcade.environment import NO_OP, Action
from popgym_arcade.play import log as logs
from popgym_arcade.play import loop
from popgym_arcade.play.display import Command, Key
from popgym_arcade.play.film import Recorder
from popgym_arcade.play.session import Session
from tests.play.script import TICK, Script

UP, DOWN, LEFT, RIGHT, FIRE_KEY, RESTART, SWITCH, BOTH, GOAL, PAUSE, MENU, CHOOSE, QUIT, REDRAW = Command


@pytest.fixture(scope="module")
def waiting() -> Iterator[Session]:
    session = Session("BattleShipEasy", 0, 64)
    yield session
    session.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Session]:
    session = Session("CartPoleEasy", 0, 64)
    yield session
    session.close()


def play(
    monkeypatch: pytest.MonkeyPatch, session: Session, entries: Sequence[Any], seed: int = 0, **options: Any
) -> tuple[Script, Command]:
    script = Script([*entries, *([] if MENU in entries else [QUIT])])
    monkeypatch.setattr(loop, "time", script)
    session.begin(seed)
    return script, loop.run(script, session, loop.View("MDP"), **options)


def actions(path: pathlib.Path) -> list[int]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["action"] for line in lines if "action" in line]


def test_a_game_that_waits_takes_a_step_for_each_key(
    monkeypatch: pytest.MonkeyPatch, waiting: Session, tmp_path: pathlib.Path
) -> None:
    log = logs.Writer(tmp_path / "log", waiting)
    keys = [RIGHT, FIRE_KEY, Key(RIGHT, False), FIRE_KEY, FIRE_KEY]
    script, how = play(monkeypatch, waiting, keys, log=log)
    log.close()
    assert how is QUIT
    assert actions(tmp_path / "log") == [3, 4, 4, 4]
    assert waiting.step == 4
    assert waiting.total == pytest.approx(-5 / 64)
    assert f"step 4 of {waiting.params.max_steps_in_episode}" in script.pages[-1].lines[0]
    assert f"return {waiting.total:+.3f}" in script.pages[-1].lines[0]


def test_the_views_can_be_changed_in_mid_game(monkeypatch: pytest.MonkeyPatch, waiting: Session) -> None:
    script, _ = play(monkeypatch, waiting, [FIRE_KEY, SWITCH, BOTH, LEFT, BOTH, SWITCH])
    captions = [page.captions for page in script.pages]
    assert captions == [("MDP",)] * 2 + [("POMDP",)] + [("MDP", "POMDP")] * 2 + [("POMDP",), ("MDP",)]
    mdp, pomdp = script.pages[4].frames
    assert not np.array_equal(mdp, pomdp)  # the shot is hidden now
    np.testing.assert_array_equal(script.pages[4].frames[1], script.pages[5].frames[0])
    np.testing.assert_array_equal(script.pages[4].frames[0], script.pages[6].frames[0])
    assert waiting.step == 2


def test_restart_plays_the_next_seed(monkeypatch: pytest.MonkeyPatch, waiting: Session) -> None:
    script, _ = play(monkeypatch, waiting, [FIRE_KEY, RESTART, RESTART], seed=SEEDS - 1)
    assert [page.title.split()[-1] for page in script.pages] == [str(SEEDS - 1)] * 2 + ["0", "1"]
    assert waiting.step == 0


def test_the_end_of_an_episode(monkeypatch: pytest.MonkeyPatch, waiting: Session) -> None:
    shots = [FIRE_KEY] * 32  # a miss, and 31 repeats
    script, _ = play(monkeypatch, waiting, [*shots, FIRE_KEY, UP, RESTART, FIRE_KEY])
    assert waiting.step == 1
    ended = [page for page in script.pages if "ended the episode" in page.lines[1]]
    assert len(ended) == 3  # what is pressed after the end has no effect
    assert "The rules ended the episode" in ended[0].lines[1]


def test_the_menu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch, waiting: Session) -> None:
    script, how = play(monkeypatch, waiting, [FIRE_KEY, MENU], has_menu=True)
    assert how is MENU
    assert any("M: menu" in line for line in script.pages[-1].lines)
    script, how = play(monkeypatch, waiting, [FIRE_KEY, MENU, QUIT])
    assert how is QUIT
    assert not any("menu" in line for line in script.pages[-1].lines)


def test_a_game_that_runs(monkeypatch: pytest.MonkeyPatch, running: Session, tmp_path: pathlib.Path) -> None:
    log = logs.Writer(tmp_path / "log", running)
    release = Key(LEFT, False)
    # It begins with a key; held keys go on; what is pressed last counts; idleness is fire, which does nothing.
    entries = [
        LEFT,
        TICK,
        TICK,
        RIGHT,
        TICK,
        release,
        TICK,
        Key(RIGHT, False),
        TICK,
        UP,
        Key(UP, False),
        LEFT,
        release,
        TICK,
    ]
    script, _ = play(monkeypatch, running, entries, pace=10.0, log=log)
    log.close()
    assert actions(tmp_path / "log") == [2, 2, 2, 3, 3, Action.FIRE, 2]
    assert script.now == pytest.approx(0.6)
    assert "begins" in script.pages[0].lines[1]


def test_a_running_game_can_be_paused(monkeypatch: pytest.MonkeyPatch, running: Session) -> None:
    script, _ = play(monkeypatch, running, [LEFT, Key(LEFT, False), TICK, PAUSE, SWITCH, RIGHT, TICK], pace=10.0)
    assert running.step == 4
    assert [page.lines[1] for page in script.pages if "Paused" in page.lines[1]] == [
        "Paused. An arrow or space goes on."
    ] * 2


def test_the_goal_is_on_the_screen_until_the_first_step_and_on_demand(
    monkeypatch: pytest.MonkeyPatch, waiting: Session, running: Session
) -> None:
    script, _ = play(monkeypatch, waiting, [SWITCH, RIGHT, GOAL, GOAL, GOAL, LEFT])
    shown = [waiting.env.goal in page.lines[1] for page in script.pages]
    assert shown == [True, True, False, True, False, True, False]
    assert "H: goal" in script.pages[-1].lines[2]
    # A game that runs by itself waits while the player reads.
    script, _ = play(monkeypatch, running, [LEFT, Key(LEFT, False), TICK, GOAL, SWITCH, RIGHT, TICK], pace=10.0)
    assert running.step == 4
    assert script.pages[0].lines[1] == "Balance a pole on a cart. An arrow or space begins."
    assert [page.lines[1] for page in script.pages[3:5]] == [
        "Balance a pole on a cart. Paused. An arrow or space goes on."
    ] * 2


def test_where_releases_are_not_seen_only_presses_count(
    monkeypatch: pytest.MonkeyPatch, running: Session, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(Script, "can_see_releases", False)
    log = logs.Writer(tmp_path / "log", running)
    play(monkeypatch, running, [LEFT, TICK, LEFT, TICK, TICK], pace=10.0, log=log)
    log.close()
    assert actions(tmp_path / "log") == [2, Action.FIRE, 2, Action.FIRE]


RUNNING = [env_id for env_id in popgym_arcade.registered_envs if popgym_arcade.make(env_id)[0].steps_per_second is not None]


@pytest.mark.parametrize("env_id", [env_id for env_id in RUNNING if env_id.endswith("Easy")])
def test_idleness_is_an_action_without_effect(env_id: str) -> None:
    env, params = popgym_arcade.make(env_id)
    assert env.steps_per_second
    transition = jax.jit(env.transition)
    state = env.initial_state(jax.random.key(0), params)
    for number in range(3):
        key = jax.random.key(number)
        idle, nothing = (transition(key, state, jnp.int32(action), params) for action in (env.idle_action, NO_OP))
        jax.tree.map(np.testing.assert_array_equal, idle, nothing)
        state = idle[0]


def test_replay(monkeypatch: pytest.MonkeyPatch, waiting: Session, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    writer = logs.Writer(path, waiting)
    film = Recorder(tmp_path / "live.gif", 4.0)
    shots = [FIRE_KEY] * 32
    live, _ = play(
        monkeypatch, waiting, [RIGHT, FIRE_KEY, SWITCH, DOWN, RESTART, *shots, RESTART], seed=5, log=writer, film=film
    )
    writer.close()
    log = logs.read_log(path)
    assert (log.game, log.obs_size, [episode.seed for episode in log.episodes]) == ("BattleShipEasy", 64, [5, 6])
    ends = [episode.end for episode in log.episodes]
    assert [end and end.end for end in ends] == ["left", "terminated"]

    again = Script([TICK] * 37 + [QUIT])
    monkeypatch.setattr(loop, "time", again)
    loop.replay(again, waiting, log, 4.0)
    played = [page.frames[0].tobytes() for page in live.pages if "seed 7" not in page.title]
    shown = [page.frames[0].tobytes() for page in again.pages]
    assert list(dict.fromkeys(played)) == list(dict.fromkeys(shown))
    assert [page.captions for page in again.pages[:4]] == [("MDP",)] * 2 + [("POMDP",)] * 2
    assert "The log ends here." in again.pages[-1].lines[1]
    assert again.now == pytest.approx(35 / 4 + 2)


def test_a_replay_can_be_paused_and_left(monkeypatch: pytest.MonkeyPatch, waiting: Session, tmp_path: pathlib.Path) -> None:
    writer = logs.Writer(tmp_path / "log", waiting)
    play(monkeypatch, waiting, [RIGHT, FIRE_KEY, LEFT], log=writer)
    writer.close()
    again = Script([TICK, PAUSE, BOTH, PAUSE, TICK, QUIT])
    monkeypatch.setattr(loop, "time", again)
    loop.replay(again, waiting, logs.read_log(tmp_path / "log"), 4.0)
    assert waiting.step == 2
    assert len(again.pages[-1].frames) == 2


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"reward": 0.0,', '"reward": 0.5,', "line 3: this step was rewarded with 0.5, now with 0.0; the log was made by"),
        ('"seed": 0', '"seed": 2', "line 6: the episode ended with state"),
        ('"steps": 3', '"steps": 4', "line 6: the episode ended with steps 4, now with 3"),
        ('"total": 0.0', '"total": 999', "line 6: the episode ended with total 999, now with 0.0"),
    ],
)
def test_a_replay_that_goes_another_way(
    monkeypatch: pytest.MonkeyPatch, waiting: Session, tmp_path: pathlib.Path, old: str, new: str, complaint: str
) -> None:
    path = tmp_path / "log"
    writer = logs.Writer(path, waiting)
    play(monkeypatch, waiting, [RIGHT, LEFT, RIGHT], log=writer)
    writer.close()
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    again = Script([TICK] * 5 + [QUIT])
    monkeypatch.setattr(loop, "time", again)
    with pytest.raises(ValueError, match=complaint):
        loop.replay(again, waiting, logs.read_log(path), 4.0)


def test_a_log_without_a_step(waiting: Session, tmp_path: pathlib.Path) -> None:
    logs.Writer(tmp_path / "log", waiting).close()
    with pytest.raises(ValueError, match="holds no step"):
        loop.replay(Script([]), waiting, logs.read_log(tmp_path / "log"), 4.0)


def test_a_log_goes_on_to_the_end_of_its_episode_only(
    monkeypatch: pytest.MonkeyPatch, waiting: Session, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "log"
    writer = logs.Writer(path, waiting)
    play(monkeypatch, waiting, [FIRE_KEY] * 32, log=writer)
    writer.close()
    lines = path.read_text().splitlines()
    lines.insert(-1, '{"action": 0, "reward": 0.0, "view": "MDP"}')
    path.write_text("\n".join(lines) + "\n")
    again = Script([TICK] * 40)
    monkeypatch.setattr(loop, "time", again)
    with pytest.raises(ValueError, match="line 35: the episode is over before this step"):
        loop.replay(again, waiting, logs.read_log(path), 4.0)

import json
import pathlib

import pytest

from popgym_arcade.play import log as logs
from popgym_arcade.play.session import Session

_MADE = {"popgym_arcade": "0.1.0", "jax": "0.10.2"}
HEADER = json.dumps({"format": 1, "game": "NavigatorEasy", "env_version": 1, "obs_size": 64, **_MADE})
STEP = '{"action": 3, "reward": -0.0078125, "view": "MDP"}'


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "line 1: the file is empty"),
        (["[" * 100_000], "line 1: this is not JSON"),
        ([HEADER, '{"seed": ' + "9" * 5000 + "}"], "line 2: this is not JSON"),
        (["{"], "line 1: this is not JSON"),
        (["[]"], "line 1: this is not an object"),
        (["{}"], "line 1: this is not a log of popgym-arcade play"),
        ([HEADER.replace('"format": 1', '"format": 2')], "line 1: this log has format 2, this version reads format 1"),
        ([HEADER.replace("NavigatorEasy", "Pong")], "line 1: unknown environment 'Pong'"),
        ([HEADER.replace("64", "32")], "line 1: obs_size must be"),
        ([HEADER.replace("64", "true")], "line 1: obs_size cannot be True"),
        ([HEADER.replace('"env_version": 1, ', "")], "line 1: this was played under version 0 of the rules of"),
        ([HEADER.replace('n": 1', 'n": 2')], "line 1: this was played under version 2 of the rules of NavigatorEasy, not 1"),
        ([HEADER.replace('n": 1', 'n": true')], "line 1: env_version cannot be True"),
        ([HEADER, STEP], "line 2: an episode begins with"),
        ([HEADER, '{"seed": -1}'], "line 2: seed must be from 0 to"),
        ([HEADER, '{"seed": "a"}'], "line 2: seed cannot be 'a'"),
        ([HEADER, '{"seed": 0}', STEP.replace("3", "5", 1)], "line 3: action must be from 0 to 4, got 5"),
        ([HEADER, '{"seed": 0}', STEP.replace("MDP", "none")], "line 3: view must be one of"),
        ([HEADER, '{"seed": 0}', '{"action": 3, "view": "MDP"}'], "line 3: reward is missing"),
        ([HEADER, '{"seed": 0}', STEP[:20], STEP], "line 3: this is not JSON"),
        ([HEADER, '{"seed": 0}', '{"step": 1}'], "line 3: this is neither a seed nor a step nor an end"),
        ([HEADER, '{"seed": 0}', '{"end": "won"}'], "line 3: end must be one of"),
        (
            [HEADER, '{"seed": 0}', '{"end": "left", "total": 0, "steps": 0, "state": "0"}', STEP],
            "line 4: an episode begins",
        ),
    ],
)
def test_broken_logs(tmp_path: pathlib.Path, lines: list[str], complaint: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=complaint) as error:
        logs.read_log(path)
    assert str(error.value).startswith(str(path))


def test_what_is_no_text(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="line 1: this is not text"):
        logs.read_log(path)


def test_what_editors_and_crashes_leave(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([HEADER, '{"seed": 0}', "", STEP, STEP[:20]]).encode())
    log = logs.read_log(path)
    assert [(step.line, step.action) for step in log.episodes[0].steps] == [(4, 3)]


def test_every_line_is_written_at_once_and_nothing_is_overwritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "log.jsonl"
    session = Session("NavigatorEasy", 1, 64)
    writer = logs.Writer(path, session)
    writer.step(3, session.act(3), "POMDP")
    log = logs.read_log(path)  # as after a crash
    assert log.episodes[0].end is None
    assert [step.action for step in log.episodes[0].steps] == [3]
    with pytest.raises(FileExistsError, match="exists already"):
        logs.Writer(path, session)
    writer.close()
    end = logs.read_log(path).episodes[0].end
    assert end is not None
    assert (end.end, end.steps, end.state) == ("left", 1, session.digest())
    session.close()

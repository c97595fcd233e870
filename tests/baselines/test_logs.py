import json
import math
import os
import pathlib
from typing import Any

import numpy as np
import pytest

from popgym_arcade.baselines.training import logs, results

METRICS = {"loss": math.nan, "episodes": 2.0, "mean_return": 0.5}


def write(path: pathlib.Path, *, seeds: tuple[int, ...] = (0, 1), updates: int = 3) -> list[dict[str, Any]]:
    log = logs.JsonLines(path, 0, 0)
    for update in range(1, updates + 1):
        for seed in seeds:
            log.write(seed, 64 * update, METRICS)
    log.close()
    return logs.read_metrics(path)


@pytest.mark.parametrize(
    "damage",
    [
        b"garbage\n",
        b"\xff\x00\xfe\r\x80\n",
        b"\n",
        b"3\n",
        b"[" * 10**5 + b"\n",
        b'{"seed": 0, "steps": 64',
        b'{"seed": 0, "episodes": 2, "mean_return": 0.5}\n',
        b'{"steps": 64, "episodes": 2, "mean_return": 0.5}\n',
        b'{"seed": 0, "steps": "64", "episodes": 2, "mean_return": 0.5}\n',
        b'{"seed": 0, "steps": -64, "episodes": 2, "mean_return": 0.5}\n',
        b'{"seed": 0, "steps": 1' + b"0" * 400 + b', "episodes": 2, "mean_return": 0.5}\n',
        b'{"seed": 0, "steps": 64, "episodes": 2, "mean_return": null}\n',
    ],
)
def test_damaged_lines_are_left_out_and_counted(
    damage: bytes, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = write(path)
    assert len(whole) == 6 and whole[0] == {"seed": 0, "steps": 64, **METRICS, "loss": None}
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
    kept = whole[:2] + whole[4 if b"\n" not in damage else 3 :]  # without an end it takes the next line with it
    assert logs.read_metrics(path) == kept
    results.curve(kept, "damaged")

    logs.JsonLines(path, 192, 6).close()
    assert f"{path}: {6 - len(kept)} of 6 lines are damaged or lost" in capsys.readouterr().err
    assert [json.loads(line) for line in path.read_text().splitlines()] == kept


def test_a_whole_file_goes_on_where_the_run_does(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = write(path)
    with path.open("ab") as file:
        file.write(b'{"seed": 0, "ste')  # killed while it wrote what no checkpoint knows
    logs.JsonLines(path, 128, 4).close()
    assert capsys.readouterr().err == ""
    assert logs.read_metrics(path) == whole[:4]
    path.unlink()
    logs.JsonLines(path, 128, 4).close()
    assert "4 of 4 lines are damaged or lost" in capsys.readouterr().err


def test_what_is_synced_is_on_the_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    path = tmp_path / "metrics.jsonl"
    log = logs.JsonLines(path, 0, 0)
    assert synced == [tmp_path.stat().st_ino]  # its name
    log.write(0, 64, METRICS)
    log.sync()
    assert synced[1:] == [path.stat().st_ino]
    log.close()
    assert synced[1:] == 2 * [path.stat().st_ino]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full, a disk that is always full")
def test_a_full_disk_is_named(tmp_path: pathlib.Path) -> None:
    def replace(file: Any) -> Any:
        file.close()
        return pathlib.Path("/dev/full").open("wb")

    lines = logs.JsonLines(tmp_path / "metrics.jsonl", 0, 0)
    lines._file = replace(lines._file)
    for call in (lambda: lines.write(0, 64, METRICS), lines.sync, lines.close):
        with pytest.raises(OSError, match="No space left on device: .*/metrics.jsonl'"):
            call()
    board = logs.TensorBoard(tmp_path / "tensorboard", (0,), 0)
    records = board._writers[0]._py_recordio_writer
    records._writer = replace(records._writer)
    board.write(0, 64, METRICS)  # nothing waits here for a thread that is lost
    for call in (board.sync, board.close):
        with pytest.raises(OSError, match="No space left on device: .*/tensorboard'"):
            call()
    with pytest.raises(OSError, match="No space left"):
        records._writer.close()


def test_tensorboard_hides_what_a_resumed_run_wrote_later(tmp_path: pathlib.Path) -> None:
    log = logs.TensorBoard(tmp_path, (7,), 128)
    log.write(7, 192, METRICS)
    log.close()
    (path,) = (tmp_path / "seed-7").iterdir()
    content, events = path.read_bytes(), []
    while content:
        size = int(np.frombuffer(content[:8], np.uint64)[0])
        events.append(log._event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    version, start, metrics = events
    assert version.file_version == "brain.Event:2"
    assert start.step == 129 and start.session_log.status == 1
    assert metrics.step == 192
    assert {value.tag: value.simple_value for value in metrics.summary.value} == {"episodes": 2.0, "mean_return": 0.5}

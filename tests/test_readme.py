import pathlib
import re
import tomllib

import pytest

import popgym_arcade
from popgym_arcade import registration

ROOT = pathlib.Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))
    exec(compile(SNIPPETS[number], f"README.md, snippet {number + 1}", "exec"), {})


def test_the_first_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands can be copied in a clone, and its snippet shows something."""
    screen = TEXT.partition("\n## ")[0]
    [commands] = re.findall(r"```sh\n(.*?)```", screen, re.DOTALL)
    install, play = commands.splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.fullmatch(r'pip install "\.\[(\w+)\]"', install) and install[15:-2] in extras
    assert play.startswith("popgym-arcade play ") and "`python play.py`" in screen and (ROOT / "play.py").exists()
    exec(compile(SNIPPETS[0], "README.md, snippet 1", "exec"), {})
    assert capsys.readouterr().out.startswith("(256, 128, 128, 3) uint8 mean reward ")


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 3


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {popgym_arcade.__version__}\n" in (ROOT / "CITATION.cff").read_text()

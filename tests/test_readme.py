import pathlib
import re

import pytest

from popgym_arcade import registration

README = pathlib.Path(__file__).parent.parent / "README.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))
    exec(compile(SNIPPETS[number], f"README.md, snippet {number + 1}", "exec"), {})


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 3

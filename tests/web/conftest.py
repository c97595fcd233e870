"""A browser for the tests of exported modules."""

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from popgym_arcade import web
from popgym_arcade.web.emitter import Module
from tests.introspection.test_report import browser

__all__ = ["browser"]


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A blank page."""
    opened = browser.new_page()
    yield opened
    opened.close()


@pytest.fixture
def inlined(page: Any) -> Callable[[Module], str]:
    """Returns the source of a module that finds the runtime without a server."""
    runtime = (pathlib.Path(web.__file__).parent / "runtime.js").read_text()
    url = page.evaluate("text => URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))", runtime)

    def source(module: Module) -> str:
        return module.source().replace("./runtime.js", url)

    return source

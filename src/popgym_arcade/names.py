"""Names that a person gives: where one is unknown, the error offers those that come closest."""

import difflib
from collections.abc import Iterable

_OFFERED = 3


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error to raise for a name that is none of those known.

    Args:
        what: what the name should be of, e.g. "environment".
        name: what was given, a string or not.
        known: all names there are; their case does not count when they are compared, at least one.
    """
    by_lower = {one.lower(): one for one in known}
    closest = difflib.get_close_matches(str(name).lower(), by_lower, n=_OFFERED, cutoff=0.0)
    *others, last = [by_lower[one] for one in closest]
    offer = f"{', '.join(others)} or {last}" if others else last
    return ValueError(f"unknown {what} {name!r}; did you mean {offer}?")

"""The networks of the baselines: `encoder` looks at frames, `memory` remembers, `builder` puts networks together."""

import importlib.util

if importlib.util.find_spec("equinox") is None:
    raise ModuleNotFoundError("popgym_arcade.baselines needs equinox: pip install 'popgym-arcade[baselines]'")

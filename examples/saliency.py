"""What does an agent look at, now and back in time? Maps of its first decisions, in a picture.

python examples/saliency.py [RUN]  # by default an agent that comes with the package
"""

import argparse
import pathlib

import jax

from popgym_arcade import baselines
from popgym_arcade.baselines.utils import get_saliency_maps, vis_fn


def main() -> None:
    """Load an agent, map its decisions, draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", nargs="?", default="skittles-lru", metavar="RUN", help="the folder that training wrote")
    parser.add_argument("--steps", type=int, default=10, help="how many decisions (default: 10)")
    parser.add_argument("--out", type=pathlib.Path, help="the picture (default: named after game and memory)")
    options = parser.parse_args()

    model, config = baselines.load(options.run)
    grads, obs_seq, _ = get_saliency_maps(jax.random.key(0), model, config, num_steps=options.steps)
    vis_fn(grads, obs_seq, config, options.out)
    for decision, maps in enumerate(grads):
        share = abs(maps[-1]).sum() / abs(maps).sum()
        print(f"decision {decision}: {share:.0%} of the gradient is on the present frame")


if __name__ == "__main__":
    main()

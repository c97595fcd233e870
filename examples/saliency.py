"""What does an agent look at, now and back in time? Maps of its first decisions, in a picture.

python examples/saliency.py MODEL --game NavigatorEasy --memory lru  # MODEL is the file model.eqx that training wrote
"""

import argparse
import pathlib

import equinox as eqx
import jax

from popgym_arcade.baselines.model.builder import QNetworkRNN
from popgym_arcade.baselines.utils import get_saliency_maps, vis_fn


def main() -> None:
    """Load an agent, map its decisions, draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL", help="the file that training wrote")
    parser.add_argument("--game", default="NavigatorEasy", help="a name such as NavigatorEasy (the default)")
    parser.add_argument("--partial", action="store_true", help="play the POMDP")
    parser.add_argument("--memory", default="lru", help="the memory of the agent (default: lru)")
    parser.add_argument("--obs-size", type=int, default=128, help="the size of frames it was trained on (default: 128)")
    parser.add_argument("--encoder", default="conv", help="its encoder, conv or patch (default: conv)")
    parser.add_argument("--memory-size", type=int, default=512, help="the width of its memory (default: 512)")
    parser.add_argument("--hidden-size", type=int, default=256, help="the width of what follows (default: 256)")
    parser.add_argument("--layers", type=int, default=2, help="the layers of its memory (default: 2)")
    parser.add_argument("--steps", type=int, default=10, help="how many decisions (default: 10)")
    parser.add_argument("--out", type=pathlib.Path, help="the picture (default: named after game and memory)")
    options = parser.parse_args()

    config = {"ENV_NAME": options.game, "PARTIAL": options.partial, "MEMORY_TYPE": options.memory, "SEED": 0}
    rng = jax.random.PRNGKey(config["SEED"])
    network = QNetworkRNN(
        5,
        rng,
        config["MEMORY_TYPE"],
        obs_size=options.obs_size,
        encoder=options.encoder,
        memory_size=options.memory_size,
        hidden_size=options.hidden_size,
        layers=options.layers,
    )
    model = eqx.tree_deserialise_leaves(options.model, network)
    grads, obs_seq, _ = get_saliency_maps(rng, model, config, num_steps=options.steps)
    vis_fn(grads, obs_seq, config, options.out)
    present = [abs(maps[-1]).sum() / abs(maps).sum() for maps in grads]
    for decision, share in enumerate(present):
        print(f"decision {decision}: {share:.0%} of the gradient is on the present frame")


if __name__ == "__main__":
    main()

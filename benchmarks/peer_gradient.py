"""Measure gradient steps of the paper's Q-network in torch, in an environment in which that is installed: a line of JSON."""

import argparse
import json
import os
import time

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


class QNetwork(nn.Module):
    """The paper's Q-network without memory, for frames of 128 px, bytes."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 64, 5, 2), nn.MaxPool2d(2), nn.LeakyReLU()),
            *(nn.Conv2d(64, 128, 3, 2), nn.MaxPool2d(2), nn.LeakyReLU()),
            *(nn.Conv2d(128, 256, 3, 2), nn.MaxPool2d(3), nn.LeakyReLU()),
            *(nn.Flatten(), nn.Linear(256, 512), nn.LeakyReLU()),
            *(nn.Linear(512, 256), nn.LayerNorm(256), nn.LeakyReLU()),
            *(nn.Linear(256, 256), nn.LayerNorm(256), nn.LeakyReLU()),
            nn.Linear(256, num_actions),
        )

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Value all actions. The axes are permuted, not moved: channels stay last in memory."""
        return self.layers(obs.permute(0, 3, 1, 2).float() / 255)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("steps", "batch", "actions", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    torch.set_num_threads(options.threads)
    network = QNetwork(options.actions).to(memory_format=torch.channels_last)
    optimizer = torch.optim.RAdam(network.parameters(), lr=5e-5)
    shape = (options.steps, options.batch)
    obs = torch.randint(0, 256, (*shape, 128, 128, 3), dtype=torch.uint8)
    action, target = torch.randint(0, options.actions, (*shape, 1)), torch.randn(*shape, 1)

    durations = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < options.seconds or len(durations) < 4:
        start, cpu_start = time.perf_counter(), time.process_time()
        for step in range(options.steps):
            q = network(obs[step]).gather(1, action[step])
            loss = 0.5 * (q - target[step]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
        durations.append((time.perf_counter() - start, time.process_time() - cpu_start))
    median, cpu_median = np.median(durations[1:], axis=0)
    frames = options.steps * options.batch
    print(json.dumps({"frames_per_second": frames / median, "frames_per_cpu_second": frames / cpu_median}))


if __name__ == "__main__":
    main()

"""Training runs: what was asked for (`config`), the loop (`trainer`), and what is left of it in a folder (`run`)."""

"""Human play: in a window or in a terminal, with logs that can be replayed and films."""

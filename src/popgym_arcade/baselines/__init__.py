"""Agents with and without memory that learn to play the games: the extra `baselines`."""

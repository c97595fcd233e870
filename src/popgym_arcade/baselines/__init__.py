"""Agents: networks with and without memory, and what trains them."""

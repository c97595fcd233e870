"""Results of many agents: entries, what is read of them, statistics, figures."""

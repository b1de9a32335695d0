"""How good models are: benchmarks, replays, tuning, and simulated students."""

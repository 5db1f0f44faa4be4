"""The engine in other people's surroundings: executors, notebooks."""

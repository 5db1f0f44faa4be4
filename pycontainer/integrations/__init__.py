"""The engine in other programs: pytest, executors, notebooks."""

"""Policy: what a container is allowed, as data for the launcher."""

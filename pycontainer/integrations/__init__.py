"""pycontainer in other programs: pytest."""

"""Helpers shared by the tests: what the host must have, images made on the spot, peers on loopback."""

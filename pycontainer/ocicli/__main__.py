"""`python -m pycontainer.ocicli`: the command, where its script is not installed."""

from __future__ import annotations

from pycontainer.ocicli import main

main()

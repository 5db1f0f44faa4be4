"""How objects look in notebooks: pieces of HTML and SVG without scripts, styles of their own, or anything
fetched.

Names, labels and log lines are written by whoever made an image or runs in a container: nothing gets into the
page but through `markup.escaped`.
"""

from __future__ import annotations

from pycontainer.engine.displays.cards import (
    container_html,
    image_html,
    network_html,
    stats_html,
    volume_html,
)
from pycontainer.engine.displays.graphs import build_graph_html, looks_html
from pycontainer.engine.displays.markup import printable

__all__ = [
    "build_graph_html",
    "container_html",
    "image_html",
    "looks_html",
    "network_html",
    "printable",
    "stats_html",
    "volume_html",
]

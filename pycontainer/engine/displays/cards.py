"""A card for each kind of object."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pycontainer.engine.displays import markup
from pycontainer.engine.displays.graphs import network_svg
from pycontainer.engine.displays.markup import Markup, box, card, escaped, join, line, table
from pycontainer.engine.progress import size_text
from pycontainer.errors import PycontainerError

if TYPE_CHECKING:
    from pycontainer.engine.containers import Container
    from pycontainer.engine.images import Image
    from pycontainer.engine.networks import Network
    from pycontainer.engine.stats import Stats
    from pycontainer.engine.volumes import Volume

__all__ = ["container_html", "image_html", "network_html", "stats_html", "volume_html"]

_LOG_LINES = 8
_LOG_WIDTH = 160
_LABELS = 8
_LOOKS, _LOOK_GAP_S = 9, 0.05
_STATES = {"running": markup.GREEN, "paused": markup.ORANGE, "restarting": markup.ORANGE, "dead": markup.RED}
_MONO = "font-family:ui-monospace,monospace;font-size:12px"


def image_html(image: Image) -> str:
    """Layers as bars, and what it runs."""
    config = image.config.config
    steps = [step for step in image.history() if step.size_bytes]
    most = max((step.size_bytes for step in steps), default=1) or 1
    bars = table(
        (
            _bar(step.size_bytes / most, markup.BLUE, 140),
            size_text(step.size_bytes),
            box("span", step.created_by[:100] or step.comment[:100], _MONO),
        )
        for step in steps
    )
    facts = [
        ("id", box("span", image.id[7:19], _MONO)),
        ("command", box("span", " ".join([*(config.entrypoint or ()), *(config.cmd or ())])[:200], _MONO)),
        ("user", config.user or "root"),
        *(("ports", ", ".join(config.exposed_ports)) for _ in "1" if config.exposed_ports),
        *_labels(config.labels or {}),
    ]
    subtitle = f"{image.platform} · {size_text(image.size_bytes)} · {len(image.view.layers)} layers"
    return card(image.name, subtitle, [table(facts), bars])


def container_html(container: Container, looks: Sequence[Stats] = ()) -> str:
    """State, ports, processor and memory over the last moments, the end of the log.

    looks: what to draw; without any, some are taken, which lasts half a second for one that runs.
    """
    state = container.state
    dot = box("span", "●", f"color:{_STATES.get(state, markup.GREY)};margin-right:4px")
    facts: list[tuple[object, object]] = [("state", join([dot, _state(container, state)]))]
    facts.append(("image", container.image.name))
    ports = [
        f"{binding.host_address}:{binding.host_port} → {port}" for port, binding in container.ports.items()
    ]
    if ports:
        facts.append(("ports", join(box("div", each) for each in ports)))
    if container.ips:
        facts.append(("addresses", ", ".join(f"{ip} in {name}" for name, ip in container.ips.items())))
    if state == "running":
        facts += _usage(looks or _taken(container))
    with suppress(PycontainerError):
        facts += _labels(container.labels)
    return card(container.name, container.id[:12], [table(facts), _log(container)])


def _state(container: Container, state: str) -> str:
    if state in ("exited", "dead"):
        why = " (out of memory)" if container.oom_killed else ""
        return f"{state} with code {container.exit_code}{why}{_ago(container.finished_at)}"
    health = container.health
    return f"{state}{_ago(container.started_at)}{f', {health.status}' if health else ''}"


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f", {seconds // size} {unit} ago"
    return f", {seconds} s ago"


def _taken(container: Container) -> list[Stats]:
    try:
        with container.stats_stream(_LOOK_GAP_S) as stream:
            return [look for look, _ in zip(stream, range(_LOOKS), strict=False)]
    except PycontainerError:
        return []  # it has ended meanwhile


def _usage(looks: Sequence[Stats]) -> list[tuple[object, object]]:
    if not looks:
        return []
    last = looks[-1]
    processor = [look.cpu_percent or 0.0 for look in looks]
    found: list[tuple[object, object]] = [
        ("CPU", join([line(processor, markup.BLUE, top=100.0), f" {processor[-1]:.0f} %"]))
    ]
    if last.memory_bytes is not None:
        memory = [float(look.memory_bytes or 0) for look in looks]
        of = f" of {size_text(last.memory_limit_bytes)}" if last.memory_limit_bytes else ""
        drawn = line(memory, markup.GREEN, top=2 * max(memory))
        found.append(("memory", join([drawn, f" {size_text(last.memory_bytes)}{of}"])))
    return found


def _log(container: Container) -> Markup:
    try:
        lines = container.logs(tail=_LOG_LINES).text().splitlines()[-_LOG_LINES:]
    except PycontainerError:
        return Markup("")  # its log driver keeps nothing here
    if not lines:
        return Markup("")
    style = f"{_MONO};margin:4px 0 0;padding:4px 8px;background:rgba(128,128,128,.12);white-space:pre-wrap"
    return box("pre", join((f"{each[:_LOG_WIDTH]}" for each in lines), "\n"), style)


def _labels(labels: object) -> list[tuple[object, object]]:
    found = list(dict(labels).items()) if labels else []  # type: ignore[call-overload]
    if not found:
        return []
    shown = [box("div", f"{key}={value}"[:120], _MONO) for key, value in sorted(found)[:_LABELS]]
    rest = [f"… {len(found) - _LABELS} more"] if len(found) > _LABELS else []
    return [("labels", join([*shown, *rest]))]


def network_html(network: Network) -> str:
    """A picture of who is connected."""
    containers = []
    for container in network.containers:
        with suppress(PycontainerError):
            ip = container.ips.get(network.name, "")
            containers.append((container.name, ip, _STATES.get(container.state, markup.GREY)))
    subtitle = (
        f"{network.driver}{' · internal' if network.is_internal else ''} · {', '.join(network.subnets)}"
    )
    picture = network_svg(network.name, network.is_internal, containers)
    return card(network.name, subtitle, [picture, table(_labels(network.labels))])


def volume_html(volume: Volume) -> str:
    """Where it is, and who uses it."""
    users = [container.name for container in volume.in_use_by]
    facts: list[tuple[object, object]] = [
        ("driver", volume.driver),
        ("place", box("span", volume.mountpoint, _MONO)),
        ("created", volume.created_at.strftime("%Y-%m-%d %H:%M")),
        ("used by", ", ".join(users) or "nobody"),
    ]
    snapshots = [snapshot.name for snapshot in volume.snapshots]
    if snapshots:
        facts.append(("snapshots", ", ".join(snapshots)))
    name = f"{volume.name[:12]} (anonymous)" if volume.is_anonymous else volume.name
    return card(name, "volume", [table([*facts, *_labels(volume.labels)])])


def stats_html(stats: Stats) -> str:
    """One look, with bars for what has a limit."""
    facts: list[tuple[object, object]] = []
    if stats.cpu_percent is not None:
        facts.append(
            ("CPU", join([_bar(stats.cpu_percent / 100, markup.BLUE), f" {stats.cpu_percent:.1f} %"]))
        )
    if stats.memory_bytes is not None:
        share = (stats.memory_percent or 0.0) / 100
        text = f" {size_text(stats.memory_bytes)} of {size_text(stats.memory_limit_bytes)}"
        facts.append(("memory", join([_bar(share, markup.GREEN), text])))
    if stats.pids is not None:
        facts.append(("processes", f"{stats.pids}{f' of {stats.pids_limit}' if stats.pids_limit else ''}"))
    if stats.read_bytes is not None and stats.written_bytes is not None:
        text = f"{size_text(stats.read_bytes)} read, {size_text(stats.written_bytes)} written"
        facts.append(("disks", text))
    if stats.networks:
        text = f"{size_text(stats.received_bytes)} received, {size_text(stats.sent_bytes)} sent"
        facts.append(("network", text))
    return card("usage", stats.at.strftime("%H:%M:%S"), [table(facts)])


def _bar(share: float, colour: str, width: int = 120) -> Markup:
    filled = max(1, round(width * min(1.0, max(0.0, share))))
    return escaped(
        Markup(
            f'<svg width="{width}" height="10" style="vertical-align:middle">'
            f'<rect width="{width}" height="10" rx="2" fill="{markup.GREY}" fill-opacity="0.15"/>'
            f'<rect width="{filled}" height="10" rx="2" fill="{colour}"/></svg>'
        )
    )

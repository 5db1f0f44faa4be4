"""TLS settings of a host: the system's certificate authorities, and Docker's certs.d directories.

A directory `HOST[:PORT]/` may hold `*.crt` (authorities trusted for that host besides the system's)
and pairs of `*.cert` and `*.key` (the client's own certificate). Source: docs.docker.com, "Verify
repository client with certificates"; containers-certs.d(5).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from pycontainer.errors import InvalidOption

__all__ = ["Tls", "client_context", "directories"]


@attrs.frozen(kw_only=True)
class Tls:
    """How to speak TLS to one server, besides what certs.d has for its host.

    ca_files: authorities to trust. pairs: certificates of the client's with their keys; None where one file
    holds both. is_verified: whether the server's certificate is checked.
    """

    ca_files: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path | None], ...] = ()
    is_verified: bool = True


def directories(host: str, roots: Iterable[Path]) -> Iterator[Path]:
    """The certs.d directories that exist for a host on the wire."""
    if "/" in host or host in ("", ".", ".."):
        return
    for root in roots:
        folder = root / host
        try:
            if folder.is_dir():
                yield folder
        except OSError:
            continue  # a name no file system holds cannot have been configured


def client_context(host: str, roots: Iterable[Path], ca_files: Iterable[Path], tls: Tls) -> ssl.SSLContext:
    """A context for connections to `host`.

    Raises: InvalidOption naming a file that cannot be read or a certificate without its key.
    """
    context = _default_context() if tls.is_verified else _unverified_context()
    context.set_alpn_protocols(["http/1.1"])
    for path in (*ca_files, *tls.ca_files):
        _load(path, lambda path=path: context.load_verify_locations(cafile=path))
    for folder in directories(host, roots):
        for path in sorted(folder.glob("*.crt")):
            _load(path, lambda path=path: context.load_verify_locations(cafile=path))
        for path in sorted(folder.glob("*.cert")):
            key = path.with_suffix(".key")
            if not key.is_file():
                raise InvalidOption(f"client certificate {path} has no key beside it; expected {key}")
            _load(path, lambda path=path, key=key: context.load_cert_chain(path, key))
    for certificate, own_key in tls.pairs:
        _load(certificate, lambda path=certificate, key=own_key: context.load_cert_chain(path, key))
    return context


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not places.cafile and not (places.capath and any(Path(places.capath).iterdir())):
        # A minimal host without ca-certificates: httpx brings certifi along.
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    return context


def _unverified_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load(path: Path, load: object) -> None:
    assert callable(load)
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        raise InvalidOption(f"cannot use certificate file {path}: {error}") from error

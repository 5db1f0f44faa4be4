"""Files that a build takes from the network: by URL, or the commit of a git repository."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from pycontainer.build import url_name
from pycontainer.errors import (
    DigestMismatch,
    InvalidInput,
    KernelError,
    NotFound,
    TransferFailed,
    Unsupported,
)

__all__ = ["clone", "download", "split_git"]

MAX_BYTES = 64 << 30
_CHUNK = 1 << 16
_TIMEOUT_S = 60.0
_TICK_S = 0.2
_GIT_TIMEOUT_S = 1800.0
_REF = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/@+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCHEMES = ("https", "http", "ssh", "git")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:]+")
# No hook, no filter of attributes, no protocol that starts programs or reads the host's files, no question.
_GIT_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "init.templateDir": "",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "protocol.git.allow": "always",
    "protocol.ssh.allow": "always",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
}


def download(url: str, place: Path, checksum: str, stop: threading.Event) -> Path:
    """Fetch a file into a directory; its mode is 0600, its time what the server says.

    checksum: its digest, "" for any. Raises: NotFound, TransferFailed, DigestMismatch, InvalidInput.
    """
    import httpx  # only builds that fetch need it

    hasher = hashlib.sha256()
    wanted = checksum.partition(":")
    if checksum and (wanted[0] not in ("sha256", "sha384", "sha512") or not wanted[2]):
        raise InvalidInput(f"checksum {checksum!r}: give sha256: and 64 hexadecimal digits")
    if checksum:
        hasher = hashlib.new(wanted[0])
    target = place / url_name(url)
    size = 0
    try:
        with (
            httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S, max_redirects=10) as client,
            client.stream("GET", url, headers={"accept-encoding": "identity"}) as answer,
        ):
            if answer.status_code == 404:
                raise NotFound(f"{_shown(url)}: the server has no such file")
            if answer.status_code != 200:
                raise TransferFailed(f"{_shown(url)}: the server answered {answer.status_code}")
            with open(target, "xb") as file:
                target.chmod(0o600)
                for piece in answer.iter_raw(_CHUNK):
                    size += len(piece)
                    if size > MAX_BYTES or stop.is_set():
                        raise TransferFailed(
                            f"{_shown(url)}: given up after {size} bytes", is_temporary=False
                        )
                    hasher.update(piece)
                    file.write(piece)
            told = answer.headers.get("last-modified", "")
    except httpx.HTTPError as error:
        raise TransferFailed(f"{_shown(url)}: {error}") from error
    except httpx.InvalidURL as error:
        raise InvalidInput(f"{_shown(url)}: {error}") from None
    found = f"{wanted[0] or 'sha256'}:{hasher.hexdigest()}"
    if checksum and found != checksum:
        raise DigestMismatch(checksum, found, _shown(url))
    try:
        moment = parsedate_to_datetime(told).timestamp()
    except (ValueError, TypeError):
        moment = 0.0
    os.utime(target, (moment, moment))
    return target


def _shown(url: str) -> str:
    """A URL for people: without what might be a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="…" if parts.query else "").geturl()


def clone(url: str, place: Path, checksum: str, *, keep_git_dir: bool, stop: threading.Event) -> Path:
    """Check out the commit that a URL names ("REPOSITORY#REF:SUBDIRECTORY") and give where its files are.

    checksum: the commit it has to be, or its beginning. Raises: Unsupported without git; NotFound;
    TransferFailed; InvalidInput for a reference that is none.
    """
    git = shutil.which("git")
    if git is None:
        raise Unsupported(f"a source from the git repository {_shown(url)}", "install git")
    remote, ref, below = split_git(url)
    place.mkdir(exist_ok=True)
    tree = place / "tree"
    tree.mkdir()
    with tempfile.TemporaryDirectory(prefix="pycontainer-git-") as home:
        run = _Git(git, tree, home, stop)
        run("init", "--quiet", "--initial-branch=main")
        commit = _fetched(run, remote, ref)
        if checksum and not commit.startswith(checksum):
            raise DigestMismatch(checksum, commit, _shown(url))
        run("checkout", "--quiet", "--detach", commit)
    if not keep_git_dir:
        shutil.rmtree(tree / ".git")
    inside = tree
    for part in below.split("/"):
        if part in ("", "."):
            continue
        inside /= part
        # A link would lead out of the repository.
        if part == ".." or inside.is_symlink() or not inside.is_dir():
            raise NotFound(f"{_shown(url)}: the repository has no directory {below}")
    return inside


def _fetched(run: _Git, remote: str, ref: str) -> str:
    """Fetch what a reference names, and give its commit."""
    quiet = ("fetch", "--quiet", "--no-recurse-submodules")
    wanted = ref or "HEAD"
    try:
        try:
            run(*quiet, "--depth=1", "--no-tags", "--", remote, wanted)
        except TransferFailed:
            run(*quiet, "--no-tags", "--", remote, wanted)  # a server without shallow copies
        return run("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
    except TransferFailed:
        if not _COMMIT.fullmatch(ref):
            raise
    # Nor does every server give a commit by its name.
    run(*quiet, "--tags", "--", remote, "+refs/heads/*:refs/remotes/origin/*")
    return run("rev-parse", "--verify", f"{ref}^{{commit}}").strip()


def split_git(url: str) -> tuple[str, str, str]:
    """The repository, the reference and the directory of a git URL. Raises: InvalidInput."""
    remote, _, fragment = url.partition("#")
    ref, _, below = fragment.partition(":")
    if remote.startswith("-") or not (_SCP.fullmatch(remote) or urlsplit(remote).scheme in _SCHEMES):
        raise InvalidInput(f"{_shown(remote)!r} is no git repository: give https, ssh or git")
    if urlsplit(remote).scheme and (urlsplit(remote).hostname or "-").startswith("-"):
        raise InvalidInput(f"{_shown(remote)!r} names no host")
    if ref and (not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref.endswith((".lock", "/"))):
        raise InvalidInput(f"{ref!r} is no name of a branch, tag or commit")
    return remote, ref, below


class _Git:
    """Runs git with a configuration and a home of its own: neither the user's nor the repository's hooks."""

    def __init__(self, git: str, tree: Path, home: str, stop: threading.Event) -> None:
        self._git = git
        self._tree = tree
        self._stop = stop
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": home,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": "https:http:git:ssh",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
            "LC_ALL": "C",
        }
        for name in ("SSH_AUTH_SOCK", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE"):
            if name in os.environ:
                self._env[name] = os.environ[name]

    def __call__(self, *arguments: str) -> str:
        options = [word for name, value in _GIT_CONFIG.items() for word in ("-c", f"{name}={value}")]
        command = [self._git, *options, "-C", str(self._tree), *arguments]
        try:
            process = subprocess.Popen(
                command, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise KernelError(error.errno or 0, "execve", self._git) from error
        waited = 0.0
        while True:
            try:
                out, err = process.communicate(timeout=_TICK_S)
                break
            except subprocess.TimeoutExpired:
                waited += _TICK_S
                if self._stop.is_set() or waited > _GIT_TIMEOUT_S:
                    os.killpg(process.pid, signal.SIGKILL)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        if process.returncode:
            text = err.decode(errors="replace").strip().splitlines()
            raise TransferFailed(f"git {arguments[0]}: {text[-1] if text else process.returncode}")
        return out.decode(errors="replace")

"""The files of a git repository's commit, with those of its submodules.

Theory of operation. Git is run with a configuration of its own, so that neither the user's nor the
repository's starts a program: no hooks, no filters, no credential helpers, and no protocol but those that
reach a server. Submodules are named by the repository, and fetched in the same way.
Source: git(1), git-submodule(1); moby/buildkit, source/git.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from pycontainer.build import shown_url
from pycontainer.errors import (
    DigestMismatch,
    InvalidInput,
    KernelError,
    NotFound,
    TransferFailed,
    Unsupported,
)

__all__ = ["Checkout", "clone_git", "commit_of_git", "split_git"]

_TICK_S = 0.2
_GIT_TIMEOUT_S = 1800.0
_REF = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/@+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF_KEYS = {"ref": "", "branch": "refs/heads/", "tag": "refs/tags/"}
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


@frozen(kw_only=True)
class Checkout:
    """A commit's files. directory: where they are; commit: its name."""

    directory: Path
    commit: str


def clone_git(url: str, place: Path, checksum: str, *, keep_git_dir: bool, stop: threading.Event) -> Checkout:
    """Check out the commit that a URL names ("REPOSITORY#REF:SUBDIRECTORY") and give where its files are.

    checksum: the commit it has to be, or its beginning. Raises: Unsupported without git; NotFound;
    TransferFailed; InvalidInput for a reference that is none.
    """
    git = _program(url)
    remote, ref, below = split_git(url)
    place.mkdir(exist_ok=True)
    tree = place / "tree"
    tree.mkdir()
    with tempfile.TemporaryDirectory(dir=place, prefix="home-") as home:  # goes with the place, if killed
        run = _Git(git, tree, home, stop)
        run("init", "--quiet", "--initial-branch=main")
        commit = _fetched(run, remote, ref)
        if checksum and not commit.startswith(checksum):
            raise DigestMismatch(checksum, commit, shown_url(url))
        run("checkout", "--quiet", "--detach", commit)
        if (tree / ".gitmodules").is_file() and not (tree / ".gitmodules").is_symlink():
            if keep_git_dir and urlsplit(remote).password:
                raise InvalidInput(
                    f"{shown_url(url)}: its submodules note the password in .git, which would be kept; "
                    "leave --keep-git-dir out, or use an agent"
                )
            _add_submodules(run, remote)
    if not keep_git_dir:
        _forget_git(tree)
    inside = tree
    for part in below.split("/"):
        if part in ("", "."):
            continue
        inside /= part
        # A link would lead out of the repository.
        if part == ".." or inside.is_symlink() or not inside.is_dir():
            raise NotFound(f"{shown_url(url)}: the repository has no directory {below}")
    return Checkout(directory=inside, commit=commit)


def commit_of_git(url: str, place: Path, *, stop: threading.Event) -> str | None:
    """The commit that a URL names now, for which nothing is fetched; None where only fetching tells.

    place: a directory, where nothing stays.
    Raises: Unsupported without git; TransferFailed; InvalidInput for a reference that is none.
    """
    git = _program(url)
    remote, ref, _ = split_git(url)
    if _COMMIT.fullmatch(ref):
        return ref
    wanted = ref or "HEAD"
    with tempfile.TemporaryDirectory(dir=place, prefix="home-") as home:
        listed = _Git(git, Path(home), home, stop)("ls-remote", "--", remote, wanted, f"{wanted}^{{}}")
    commits = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
    for prefix in ("", "refs/", "refs/tags/", "refs/heads/"):  # the order of gitrevisions(7)
        name = prefix + wanted
        found = commits.get(f"{name}^{{}}") or commits.get(name)
        if found is not None:
            return found
    return None


def _program(url: str) -> str:
    git = shutil.which("git")
    if git is None:
        raise Unsupported(f"a source from the git repository {shown_url(url)}", "install git")
    return git


def _add_submodules(run: _Git, remote: str) -> None:
    run("remote", "add", "origin", "--", remote)  # what relative addresses are relative to
    update = ("submodule", "--quiet", "update", "--init", "--recursive")
    try:
        run(*update, "--depth=1")
    except TransferFailed:
        run(*update)  # a server without shallow copies


def _forget_git(tree: Path) -> None:
    """Leave the files alone; a submodule has a file that leads to its repository."""
    shutil.rmtree(tree / ".git")
    for directory, names, files in os.walk(tree):
        if ".git" in names:
            shutil.rmtree(Path(directory, ".git"))
            names.remove(".git")
        if ".git" in files:
            Path(directory, ".git").unlink()


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
    if "://" in remote and "?" in remote:
        remote, _, query = remote.partition("?")
        ref, below = _asked(query, ref, below, shown_url(remote))
    if remote.startswith("-") or not (_SCP.fullmatch(remote) or urlsplit(remote).scheme in _SCHEMES):
        raise InvalidInput(f"{shown_url(remote)!r} is no git repository: give https, ssh or git")
    if urlsplit(remote).scheme and (urlsplit(remote).hostname or "-").startswith("-"):
        raise InvalidInput(f"{shown_url(remote)!r} names no host")
    if ref and (not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref.endswith((".lock", "/"))):
        raise InvalidInput(f"{ref!r} is no name of a branch, tag or commit")
    return remote, ref, below


def _asked(query: str, ref: str, below: str, shown: str) -> tuple[str, str]:
    """The reference and the directory that a query gives ("ref=v1&subdir=src"), beside those behind the "#".

    Source: docs.docker.com/build/concepts/context, "URL queries".
    """
    refs, places = [ref] * bool(ref), [below] * bool(below)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "subdir":
            places.append(value)
        elif key in _REF_KEYS:
            refs.append(_REF_KEYS[key] + value)
        else:
            raise InvalidInput(f"{shown}: a query may have ref, branch, tag and subdir, not {key[:40]!r}")
    if len(refs) > 1 or len(places) > 1:
        raise InvalidInput(f"{shown}: give one reference and one directory")
    return "".join(refs), "".join(places)


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

"""The command `pycontainer-runtime` on bundles made on the spot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.support.launching import base_spec, merge
from tests.support.patience import patient

COMMAND = (sys.executable, "-m", "pycontainer.ocicli")


@attrs.frozen(kw_only=True)
class Done:
    """What a command left."""

    code: int
    stdout: str
    stderr: str


@attrs.frozen
class Runtime:
    """One runtime's command with a state directory of its own."""

    base: Path
    rootfs: Path
    command: Sequence[str] = COMMAND

    def bundle(self, name: str, args: Sequence[str], changes: Mapping[str, Any] | None = None) -> Path:
        """A bundle on the shared root file system; changes go over a specification like Docker's."""
        directory = self.base / f"bundle-{name}"
        directory.mkdir()
        spec = base_spec(args)
        spec["process"]["noNewPrivileges"] = True
        spec["root"] = {"path": str(self.rootfs)}
        spec["linux"]["cgroupsPath"] = f"/pytest-oci-{os.getpid()}-{name}"
        merge(spec, changes or {})
        (directory / "config.json").write_text(json.dumps(spec))
        return directory

    def __call__(self, *words: str | Path, input: str | None = None, **options: Any) -> Done:
        """Run a command to its end; its output goes to files, since a container may keep it open."""
        if input is None:
            options.setdefault("stdin", subprocess.DEVNULL)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            done = subprocess.run(
                [*self.command, "--root", str(self.base / "state"), *map(str, words)],
                input=input,
                stdout=out,
                stderr=err,
                text=True,
                timeout=patient(30),
                check=False,
                **options,
            )
            out.seek(0)
            err.seek(0)
            return Done(code=done.returncode, stdout=out.read(), stderr=err.read())

    def ok(self, *words: str | Path, **options: Any) -> str:
        """stdout of a command that succeeds."""
        done = self(*words, **options)
        assert done.code == 0, done.stderr
        return done.stdout

    def run(self, name: str, args: Sequence[str], changes: Mapping[str, Any] | None = None) -> Done:
        """A container from beginning to end."""
        return self("run", "--bundle", self.bundle(name, args, changes), name)

    def clean(self) -> None:
        """Delete what a test left; found by the state directory, since a command costs as much as a test."""
        for left in sorted((self.base / "state").glob("[!.]*")):
            self.ok("delete", "--force", left.name)

    def status(self, name: str) -> str:
        """What state says."""
        return str(json.loads(self.ok("state", name))["status"])

    def pid(self, name: str) -> int:
        """The first process's id."""
        return int(json.loads(self.ok("state", name))["pid"])

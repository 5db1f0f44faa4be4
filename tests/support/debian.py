"""A tree of Debian programs: packages and what they depend on unpacked, none of them configured.

debootstrap takes some times as long, nearly all of it for scripts of the packages that tests do without.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pycontainer as pc

PROGRAMS = ("bash", "coreutils", "nginx-light", "postgresql", "redis-server", "util-linux")
USERS = {"www-data": 33, "postgres": 101}
UNUSED = ("*/libLLVM*", "*/libz3*", "./usr/share/perl*", "./usr/lib/*/perl*")
IMAGE = "debian-programs"
_MERGED = ("bin", "lib", "lib64", "sbin")
# What no program opens: half of the bytes.
_UNUSED = ("./usr/share/doc", "./usr/share/i18n", "./usr/share/locale", "./usr/share/man", "./var/cache")
_OPTIONS = (
    *("-qq", "--yes", "--download-only", "--no-install-recommends"),
    # As if nothing were installed yet; neither the host's list of what is nor its caches are touched.
    *("-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"),
    *("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="),
)


@contextmanager
def store(base: Path) -> Iterator[pc.Engine]:
    """An engine below a directory, with an image of Debian in which a web server and two databases are.

    PYCONTAINER_TEST_CACHE names a directory where the image is kept for sessions of tests that come later.
    """
    cache = os.environ.get("PYCONTAINER_TEST_CACHE")
    kept = Path(cache, f"pycontainer-{IMAGE}-{_state_of_packages()}.tar") if cache else None
    with pc.Engine(base / "store") as engine:
        if kept is not None and kept.exists():
            (image,) = pc.Image.load(kept, engine=engine)
        else:
            image = _make(base / "root", engine)
            if kept is not None:
                part = kept.with_suffix(f".{os.getpid()}")
                image.save(part, format="oci-archive")
                part.rename(kept)
        pc.run(image, ["true"], engine=engine)
        yield engine


def _state_of_packages() -> str:
    """Changes whenever the host's lists of packages do."""
    lists = sorted(Path("/var/lib/apt/lists").glob("*Packages*"))
    told = [(path.name, found.st_size, found.st_mtime_ns) for path in lists for found in [path.stat()]]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _make(root: Path, engine: pc.Engine) -> pc.Image:
    unpack(root, PROGRAMS, USERS, without=UNUSED)
    for name in ("var/lib/postgresql", "var/run/postgresql"):  # made by its scripts
        (root / name).mkdir(parents=True, exist_ok=True)
        os.chown(root / name, USERS["postgres"], USERS["postgres"])
    (root / "usr/bin/sh").symlink_to("bash")
    for name in ("psql", "pg_isready"):  # scripts that look for the version to run
        (root / "usr/bin" / name).unlink()
        program = next(root.glob(f"usr/lib/postgresql/*/bin/{name}"))
        (root / "usr/bin" / name).symlink_to(f"/{program.relative_to(root)}")
    image = pc.Image.from_directory(root, tags=[IMAGE], engine=engine)
    shutil.rmtree(root)
    return image


def unpack(
    root: Path, packages: Sequence[str], users: Mapping[str, int], *, without: Sequence[str] = ()
) -> None:
    """Unpack the packages of the host's own release into a new directory.

    users: names and ids of accounts beside root, each with a group alike. without: patterns, as tar(1)
    takes them, of files that are left out.
    Raises: subprocess.CalledProcessError if the mirror cannot be reached or has no such package.
    """
    archives = root.with_name(f"{root.name}.archives")
    shutil.rmtree(archives, ignore_errors=True)
    (archives / "partial").mkdir(parents=True)
    command = ["apt-get", *_OPTIONS, "-o", f"Dir::Cache::archives={archives}", "install", *packages]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    excluded = [f"--exclude={pattern}" for pattern in (*_UNUSED, *without)]
    script = f'dpkg-deb --fsys-tarfile "$0" | tar -xp --keep-directory-symlink -C "$1" {" ".join(excluded)}'
    for archive in archives.glob("*.deb"):
        subprocess.run(["bash", "-o", "pipefail", "-c", script, archive, root], check=True, timeout=120)
        archive.unlink()
    shutil.rmtree(archives)
    _add_users(root, {"root": 0, **users})


def _add_users(root: Path, users: Mapping[str, int]) -> None:
    for name in ("dev", "etc", "proc", "run", "sys", "tmp", "var"):
        (root / name).mkdir(exist_ok=True)
    os.chmod(root / "tmp", 0o1777)
    (root / "etc/passwd").write_text(
        "".join(f"{name}:x:{uid}:{uid}::/{'' if uid else 'root'}:/bin/sh\n" for name, uid in users.items())
    )
    (root / "etc/group").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in users.items()))
    (root / "etc/shadow").write_text("".join(f"{name}:*:::::::\n" for name in users))

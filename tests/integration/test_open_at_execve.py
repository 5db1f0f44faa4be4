"""Nothing of the host is open when a container's program is looked up: no name leads out by a descriptor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer import errors
from tests.support import images

pytestmark = pytest.mark.needs("root", "overlay")

_FDS = range(3, 40)
_HOST_PROGRAM = os.path.realpath(shutil.which("busybox") or "")
_UP = "../" * 12

_WAYS: dict[str, dict[str, Any]] = {
    "by its monitor": {},
    "by itself": {"tty": True},
    "as a user": {"user": "1000"},
    "with new privileges": {"security_opt": ["no-new-privileges=false"]},
}


@pytest.fixture(scope="module")
def hostile(warm_engine: tuple[pc.Engine, pc.Image], tmp_path_factory: pytest.TempPathFactory) -> pc.Image:
    """An image whose programs are links through descriptors, and scripts with such interpreters."""
    engine, _ = warm_engine
    root = images.busybox_rootfs(tmp_path_factory.mktemp("hostile") / "rootfs")
    for fd in _FDS:
        (root / f"bin/link{fd}").symlink_to(f"/proc/self/fd/{fd}{_HOST_PROGRAM}")
        (root / f"bin/up{fd}").symlink_to(f"/proc/self/fd/{fd}/{_UP}{_HOST_PROGRAM}")
        script = root / f"bin/script{fd}"
        script.write_text(f"#!/proc/self/fd/{fd}/{_UP}{_HOST_PROGRAM} true\n")
        script.chmod(0o755)
    layout = images.oci_layout(tmp_path_factory.mktemp("hostile") / "layout", [images.tar_of(root)])
    return pc.Image.load(layout, engine=engine)[0]


def _leads_out(image: pc.Image, engine: pc.Engine, program: str, options: dict[str, Any]) -> bool:
    try:
        return pc.run(image, [program, "true"], engine=engine, **options).exit_code == 0
    except errors.LaunchError as error:
        return error.exit_code not in (126, 127)


@pytest.mark.parametrize("way", _WAYS)
def test_no_descriptor_leads_to_a_program_of_the_host(way: str, engine: pc.Engine, hostile: pc.Image) -> None:
    programs = [f"/bin/{kind}{fd}" for kind in ("link", "up", "script") for fd in _FDS]
    programs += [f"/proc/self/fd/{fd}/{_UP}{_HOST_PROGRAM}" for fd in _FDS]
    found = [name for name in programs if _leads_out(hostile, engine, name, _WAYS[way])]
    assert found == []


def test_nor_does_one_of_a_container_that_goes_on(engine: pc.Engine, hostile: pc.Image) -> None:
    for fd in _FDS:
        container = pc.Container.create(hostile, [f"/bin/up{fd}", "true"], engine=engine)
        try:
            with pytest.raises(errors.LaunchError):
                container.start()
        finally:
            container.remove(force=True)


def test_a_device_that_is_named_like_the_file_of_users_is_not_opened(
    engine: pc.Engine, tmp_path: Path
) -> None:
    root = images.busybox_rootfs(tmp_path / "rootfs")
    os.unlink(root / "etc/passwd")
    # No driver has it, which whoever opens it is told.
    os.mknod(root / "etc/passwd", 0o020666, os.makedev(240, 77))
    image = pc.Image.load(images.oci_layout(tmp_path / "layout", [images.tar_of(root)]), engine=engine)[0]
    with pytest.raises(errors.LaunchError, match="not a regular file"):
        pc.run(image, ["true"], user="web", engine=engine)

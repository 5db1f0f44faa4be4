"""`RUN --mount` is understood as by BuildKit, after variables are expanded."""

from __future__ import annotations

import pytest

from pycontainer.build.dockerfile import Mount
from pycontainer.build.dockerfile.mounts import parse_mount
from pycontainer.build.dockerfile.shellword import expand
from pycontainer.build.dockerfile.source import Problem


def parsed(flag: str) -> Mount:
    return parse_mount(flag, lambda word: expand(word, {"X": "x", "K": "cache"}).text)


MOUNTS = {
    "target=/a": Mount(target="/a"),
    "type=bind,from=base,source=/s,target=/a,rw": Mount(
        from_stage="base", source="/s", target="/a", is_read_only=False
    ),
    "src=s,dst=/a": Mount(source="s", target="/a"),
    "destination=/a,readwrite=false": Mount(target="/a"),
    "type=bind,target=/a,ro=false": Mount(target="/a", is_read_only=False),
    "type=cache,target=/c": Mount(kind="cache", target="/c", is_read_only=False),
    "type=CACHE,target=/c,sharing=Locked,id=i,mode=0700,uid=5,gid=6": Mount(
        kind="cache",
        target="/c",
        sharing="locked",
        id="i",
        mode=0o700,
        uid=5,
        gid=6,
        is_read_only=False,
    ),
    "type=cache,target=/c,readonly": Mount(kind="cache", target="/c"),
    "type=$K,target=/c/$X,id=${X}": Mount(kind="cache", target="/c/x", id="x", is_read_only=False),
    "type=tmpfs,target=/t,size=64m": Mount(
        kind="tmpfs", target="/t", size_bytes=64 << 20, is_read_only=False
    ),
    "type=secret,id=s": Mount(kind="secret", id="s"),
    "type=secret,id=s,env=TOKEN,required": Mount(kind="secret", id="s", env="TOKEN", is_required=True),
    "type=secret,source=s,target=/run/s,mode=400,uid=1": Mount(
        kind="secret", source="s", target="/run/s", mode=0o400, uid=1
    ),
    "type=ssh": Mount(kind="ssh"),
    "type=ssh,id=k,required=true": Mount(kind="ssh", id="k", is_required=True),
    'target=/a,"source=b,c"': Mount(target="/a", source="b,c"),
    'target=/a,"source=b \'\'""c"""': Mount(target="/a", source="b c"),
}


@pytest.mark.parametrize("flag", MOUNTS)
def test_a_mount_is_understood(flag: str) -> None:
    assert parsed(flag) == MOUNTS[flag]


REFUSED = {
    "type=volume,target=/a": 'unsupported mount type "volume"',
    "target": "invalid field 'target' must be a key=value pair",
    "taget=/a": "unexpected key 'taget'",
    "target=/a,ro=maybe": "invalid value for readonly: maybe",
    "target=/a,mode=0644": 'mode not allowed for "bind" type mounts',
    "type=tmpfs,target=/a,uid=1": 'uid not allowed for "tmpfs" type mounts',
    "target=/a,size=1m": "unexpected key 'size' for mount type 'bind'",
    "target=/a,required": "unexpected key 'required' for mount type 'bind'",
    "type=cache,target=/a,env=A": "unexpected key 'env' for mount type 'cache'",
    "type=tmpfs,target=/a,size=big": "invalid value for size: big",
    "type=cache,target=/a,sharing=some": 'unsupported sharing value "some"',
    "type=bind,target=/a,sharing=shared": "invalid cache sharing set for bind mount",
    "type=secret,id=a,sharing=shared": "secret mount should not define sharing",
    "type=secret,id=a,from=b": "secret mount should not have a from",
    "type=secret,id=a,source=b": "both source and id can't be set",
    "type=secret": "invalid secret mount. one of source, target required",
    "type=cache,target=/a,mode=999": "invalid value 999 for mode",
    "type=cache,target=/a,uid=-1": "invalid value -1 for uid",
    "type=cache,target=/a,gid=4294967296": "invalid value 4294967296 for gid",
    'target=/a,"source': 'missing " in quoted field',
    'target=/a,sou"rce=x': 'bare " in non-quoted field',
}


@pytest.mark.parametrize("flag", REFUSED)
def test_a_mount_that_means_nothing_is_refused(flag: str) -> None:
    with pytest.raises(Problem) as caught:
        parsed(flag)
    assert REFUSED[flag] in caught.value.problem


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(Problem) as caught:
        parsed("type=cache,tagret=/a")
    assert caught.value.suggestion == "target"

"""What a build is asked to write, before anything is built."""

from __future__ import annotations

import io

import pytest

from pycontainer.engine.building.cacheimages import understood_caches
from pycontainer.engine.building.options import understood_annotations
from pycontainer.engine.building.outputs import understood_outputs
from pycontainer.errors import InvalidOption


def test_a_layout_is_not_written_to_a_stream() -> None:
    with pytest.raises(InvalidOption, match="tar=false needs the path"):
        understood_outputs({"type": "oci", "tar": "false", "dest": io.BytesIO()})
    assert understood_outputs("type=oci,tar=false,dest=out")[0].dest == "out"


def test_keys_of_buildkit_that_hold_in_any_case_cannot_be_refused() -> None:
    keys = ("oci-mediatypes", "rewrite-timestamp", "unpack", "store", "name-canonical")
    always = ",".join(f"{key}=true" for key in keys)
    [made] = understood_outputs(f"type=image,name=a,push=true,push-by-digest=true,{always}")
    assert (made.kind, made.by_digest, made.names) == ("registry", True, ("a",))
    for key in keys:
        with pytest.raises(InvalidOption, match=f"{key}=false is not to be had"):
            understood_outputs(f"type=oci,dest=x,{key}=false")


def test_a_cache_that_cannot_be_written_may_be_passed_over() -> None:
    given = (
        "type=registry,ref=a.example/b:1,mode=max,ignore-error=true,image-manifest=true,oci-mediatypes=true"
    )
    [made] = understood_caches(given, "cache_to")
    assert (made.has_all, made.ignores_errors) == (True, True)
    for wrong in ("type=inline,image-manifest=false", "type=inline,ignore-error=maybe"):
        with pytest.raises(InvalidOption, match="leave it out"):
            understood_caches(wrong, "cache_to")


def test_annotations_are_of_what_is_said_before_the_colon() -> None:
    given = {"a": "1", "index:b": "2", "manifest,index:c": "3", "manifest-descriptor:d": "4", "x:e": "5"}
    made = understood_annotations(given, has_index=True)
    assert made.manifest == {"a": "1", "c": "3", "x:e": "5"}
    assert (made.index, made.descriptor) == ({"b": "2", "c": "3"}, {"d": "4"})
    with pytest.raises(InvalidOption, match="has no index"):
        understood_annotations({"index:a": "1"}, has_index=False)

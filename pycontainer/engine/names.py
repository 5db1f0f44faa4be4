"""Ids, and names for containers whose caller gives none."""

from __future__ import annotations

import secrets

__all__ = ["new_id", "random_name"]

_LEFT = (
    "agile amber bold brave bright calm clever crisp daring eager fair fleet gentle glad golden happy "
    "humble jolly keen kind lively lucid merry mighty nimble noble patient proud quick quiet rapid sharp "
    "silent silver sober steady sunny swift tidy vivid warm wise witty zesty"
).split()
_RIGHT = (
    "badger beaver bison condor coral crane dolphin eagle falcon ferret finch fox gecko heron ibex jackal "
    "kestrel koala lemur lynx magpie marten mole newt ocelot osprey otter owl panda petrel puffin quail "
    "raven robin seal shrew sparrow stork swan tapir tern toad turtle viper walrus weasel wren yak"
).split()


def new_id() -> str:
    """A container id: 64 random hexadecimal digits, as Docker's."""
    return secrets.token_hex(32)


def random_name(*, with_number: bool = False) -> str:
    """Two words that are easy to say; with a number when the plain pairs are taken."""
    pair = f"{secrets.choice(_LEFT)}_{secrets.choice(_RIGHT)}"
    return f"{pair}_{secrets.randbelow(1000000)}" if with_number else pair

"""What a build does with files: chosen in a context or a stage, summed up, copied into a layer, sealed.

Theory of operation. A context is a stranger's directory, which may change while it is read, and a stage's
files are an image's: both are walked by descriptors, one component at a time, no link followed but those that
a source names, and these are resolved by hand inside the root. The job locks itself into the directories it
was given, as those of `launcher.files` do, before it looks at the first name.

`checksum` and `copy` choose by the same code, so what a cache key speaks of is what is copied.
"""

from pycontainer.launcher.building.checksum import checksum
from pycontainer.launcher.building.copying import copy
from pycontainer.launcher.building.directories import locate, make_directory, missing
from pycontainer.launcher.building.exporting import export
from pycontainer.launcher.building.sealing import seal

__all__ = ["JOBS"]

JOBS = {
    "build_checksum": checksum,
    "build_copy": copy,
    "build_directory": make_directory,
    "build_export": export,
    "build_locate": locate,
    "build_missing": missing,
    "build_layer": seal,
}

"""What software an image contains, read from what package managers and builders left in it, as SPDX.

`is_wanted` says which files of an image are needed, `BuildInfo` what of a program is, `inventory` reads
packages from them, `document` makes the SPDX document. All of it is a stranger's text: what is malformed is
passed over, and nothing is executed.
"""

from pycontainer.sbom.golang import BuildInfo
from pycontainer.sbom.inventory import MAX_FILE_BYTES, Inventory, inventory, is_wanted
from pycontainer.sbom.packages import Package
from pycontainer.sbom.spdx import document

__all__ = ["BuildInfo", "MAX_FILE_BYTES", "Inventory", "Package", "document", "inventory", "is_wanted"]

"""What software an image contains, read from the databases of its package managers, as SPDX.

`is_wanted` says which files of an image are needed, `inventory` reads packages from them, `document` makes
the SPDX document. All of it is a stranger's text: what is malformed is passed over, and nothing is executed.
"""

from pycontainer.sbom.inventory import MAX_FILE_BYTES, Inventory, inventory, is_wanted
from pycontainer.sbom.packages import Package
from pycontainer.sbom.spdx import document

__all__ = ["MAX_FILE_BYTES", "Inventory", "Package", "document", "inventory", "is_wanted"]

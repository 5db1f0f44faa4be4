"""How much of a layer is read before it is refused: what a hostile or broken image may cost."""

from __future__ import annotations

from collections.abc import Mapping

from pycontainer.errors import InvalidInput

__all__ = ["Limits"]


class Limits:
    """Upper bounds of one layer.

    Attributes:
        entries: headers of the tar, those that only describe the next one included.
        bytes: size of the uncompressed tar.
        ratio: uncompressed bytes per compressed byte; looked at once `ratio_grace` bytes came out.
            Deflate cannot exceed 1032, xz about 7000; only a bomb in zstd or bzip2 goes beyond.
        ratio_grace: uncompressed bytes, below which any ratio is accepted.
        metadata_bytes: one PAX header, GNU long name or sparse map. Go's archive/tar has the same bound.
        path_bytes: one path; the kernel's PATH_MAX counts the final NUL.
        depth: components of one path.
        window_bytes: memory a zstd or xz stream may ask for.
    """

    __slots__ = (
        "bytes",
        "depth",
        "entries",
        "metadata_bytes",
        "path_bytes",
        "ratio",
        "ratio_grace",
        "window_bytes",
    )

    def __init__(
        self,
        entries: int = 8_000_000,
        bytes: int = 1 << 40,
        ratio: int = 10_000,
        ratio_grace: int = 256 << 20,
        metadata_bytes: int = 1 << 20,
        path_bytes: int = 4095,
        depth: int = 256,
        window_bytes: int = 128 << 20,
    ) -> None:
        self.entries: int = entries
        self.bytes: int = bytes
        self.ratio: int = ratio
        self.ratio_grace: int = ratio_grace
        self.metadata_bytes: int = metadata_bytes
        self.path_bytes: int = path_bytes
        self.depth: int = depth
        self.window_bytes: int = window_bytes

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> Limits:
        """Build from a job's parameters; keys left out keep their defaults.

        Raises: InvalidInput for an unknown key or a value that is no positive integer.
        """
        given: dict[str, int] = {}
        for key, value in params.items():
            if key not in cls.__slots__:
                raise InvalidInput(f"unknown layer limit {key!r}; there are {', '.join(cls.__slots__)}")
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise InvalidInput(f"layer limit {key}: {value!r} is not a positive integer")
            given[key] = value
        return cls(**given)

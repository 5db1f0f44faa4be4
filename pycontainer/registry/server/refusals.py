"""How the server says no: a status, one of the specification's codes, and a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pycontainer.registry.server.messages import Response


class Refusal(Exception):
    """Ends the handling of a request; becomes its response. Never leaves the server.

    Attributes: status (HTTP), code (distribution-spec "Error codes", or UNKNOWN), headers (sent with it).
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers: dict[str, str] = dict(headers or {})

    def response(self) -> Response:
        """The error document of the specification."""
        document = {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        return Response(
            self.status, {"Content-Type": "application/json", **self.headers}, json.dumps(document).encode()
        )

"""The endpoints of the distribution specification over the storage. No sockets, no threads.

Source: OCI distribution-spec 1.1; Docker Registry HTTP API V2 for the catalog and for header details
that clients rely on (Docker-Distribution-Api-Version, Range "0-0" of an empty upload).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pycontainer.registry.server import documents, grammar
from pycontainer.registry.server.auth import Gate
from pycontainer.registry.server.limits import ServerLimits
from pycontainer.registry.server.messages import FileSpan, Request, Response, Stream
from pycontainer.registry.server.paging import paged, tag_order
from pycontainer.registry.server.refusals import Refusal
from pycontainer.registry.server.routes import METHODS, Route
from pycontainer.registry.server.storage import Manifest, Storage
from pycontainer.registry.server.uploads import Upload, Uploads

if TYPE_CHECKING:
    # At run time it comes with an upstream only: it brings the client and httpx along.
    from pycontainer.registry.server.upstream import Upstream

# The specification wants referrers responses no bigger than a manifest may be.
_REFERRERS_BYTES: Final = 4 << 20


class Handlers:
    """One method an endpoint; handle() picks it."""

    def __init__(
        self,
        storage: Storage,
        uploads: Uploads,
        gate: Gate,
        limits: ServerLimits,
        upstream: Upstream | None = None,
    ) -> None:
        self.storage = storage
        self._upstream = upstream
        self._uploads = uploads
        self._gate = gate
        self._limits = limits

    def handle(self, request: Request, route: Route) -> Response:
        """Answer a request. Raises: Refusal."""
        if route.endpoint in ("base", "catalog"):
            resource = ("registry", "catalog") if route.endpoint == "catalog" else ("", "")
        else:
            resource = ("repository", route.repository)
        self._gate.check(request, *resource)
        allowed = METHODS[route.endpoint]
        if request.method not in allowed:
            raise Refusal(
                405,
                "UNSUPPORTED",
                f"{request.method} does not work here",
                headers={"Allow": ", ".join(allowed)},
            )
        method = "get" if request.method == "HEAD" else request.method.lower()
        response: Response = getattr(self, f"{method}_{route.endpoint}")(request, route)
        return response

    # -- discovery ----------------------------------------------------------------------------------

    def get_base(self, _request: Request, _route: Route) -> Response:
        """Say that the API is spoken here."""
        return _json({})

    def get_catalog(self, request: Request, _route: Route) -> Response:
        """List repositories, in pages."""
        page, link = paged(self.storage.repositories(), request, "/v2/_catalog", key=str)
        return _json({"repositories": page}, link)

    def get_tags(self, request: Request, route: Route) -> Response:
        """List tags, in pages, in case-insensitive order."""
        tags = self.storage.tags(route.repository)
        if self._upstream is not None:
            try:
                tags = sorted({*(tags or ()), *self._upstream.tags(route.repository)}, key=tag_order)
            except Refusal:
                if tags is None:
                    raise
        if tags is None:
            raise Refusal(404, "NAME_UNKNOWN", f"no repository {route.repository!r}")
        page, link = paged(tags, request, f"/v2/{route.repository}/tags/list", key=tag_order)
        return _json({"name": route.repository, "tags": page}, link)

    def get_referrers(self, request: Request, route: Route) -> Response:
        """List manifests whose subject is the digest, perhaps of one artifact type; never 404."""
        subject = grammar.digest(route.reference)
        wanted, last = request.query("artifactType"), request.query("last") or ""
        found = [
            each
            for each in self._all_referrers(route.repository, subject)
            if each["digest"] > last and wanted in (None, each.get("artifactType"))
        ]
        headers = {"Content-Type": documents.OCI_INDEX}
        if wanted is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        page: list[dict[str, Any]] = []
        size = 0
        for descriptor in found:
            size += len(json.dumps(descriptor)) + 1
            if page and size > _REFERRERS_BYTES - 1024:
                query = f"last={quote(page[-1]['digest'])}"
                if wanted is not None:
                    query += f"&artifactType={quote(wanted, safe='')}"
                headers["Link"] = f'</v2/{route.repository}/referrers/{subject}?{query}>; rel="next"'
                break
            page.append(descriptor)
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": page}
        return Response(200, headers, json.dumps(index).encode())

    def _all_referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        known = {each["digest"]: each for each in self.storage.referrers(repository, subject)}
        if self._upstream is not None:
            with contextlib.suppress(Refusal):  # The specification allows no failure here.
                for each in self._upstream.referrers(repository, subject):
                    known.setdefault(each["digest"], each)
        return [known[digest] for digest in sorted(known)]

    # -- manifests ----------------------------------------------------------------------------------

    def get_manifest(self, request: Request, route: Route) -> Response:
        """Send a manifest as it was pushed, whatever Accept says (image choice is the client's affair)."""
        found = self.find_manifest(route)
        headers = {
            "Content-Type": found.media_type,
            "Docker-Content-Digest": found.digest,
            "ETag": f'"{found.digest}"',
        }
        if _matches(request, found.digest):
            return Response(304, headers)
        return Response(200, headers, found.content)

    def find_manifest(self, route: Route) -> Manifest:
        """The manifest a route names. Raises: Refusal MANIFEST_UNKNOWN."""
        _check_reference(route.reference)
        found = self.storage.manifest(route.repository, route.reference)
        if self._upstream is not None and (found is None or not grammar.is_digest(route.reference)):
            try:
                self._upstream.bring_manifest(route.repository, route.reference)
            except Refusal:
                if found is None:
                    raise
            found = self.storage.manifest(route.repository, route.reference)
        if found is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"no manifest {route.reference!r} in {route.repository!r}")
        return found

    def put_manifest(self, request: Request, route: Route) -> Response:
        """Take a manifest whose blobs are all here already."""
        _check_reference(route.reference)
        content = request.body.read(self._limits.manifest_bytes)
        if content is None:
            raise Refusal(413, "SIZE_INVALID", f"a manifest has at most {self._limits.manifest_bytes} bytes")
        is_tag = not grammar.is_digest(route.reference)
        algorithm = "sha256" if is_tag else route.reference.partition(":")[0]
        digest = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
        if not is_tag and digest != route.reference:
            raise Refusal(400, "DIGEST_INVALID", f"the manifest received is {digest}, not {route.reference}")
        document = documents.read(content, request.headers.get("content-type"))
        missing = self.storage.missing(route.repository, document)
        if missing is not None:
            raise Refusal(
                404, "MANIFEST_BLOB_UNKNOWN", f"{missing} is not in {route.repository!r}; push it first"
            )
        self.storage.put_manifest(
            route.repository, digest, content, document, route.reference if is_tag else None
        )
        headers = {"Location": f"/v2/{route.repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        if document.subject is not None:
            headers["OCI-Subject"] = document.subject
        return Response(201, headers)

    def delete_manifest(self, _request: Request, route: Route) -> Response:
        """Remove a tag, or a manifest with the tags that name it."""
        _check_reference(route.reference)
        is_digest = grammar.is_digest(route.reference)
        remove = self.storage.delete_manifest if is_digest else self.storage.delete_tag
        if not remove(route.repository, route.reference):
            raise Refusal(404, "MANIFEST_UNKNOWN", f"no manifest {route.reference!r} in {route.repository!r}")
        return Response(202)

    # -- blobs --------------------------------------------------------------------------------------

    def get_blob(self, request: Request, route: Route) -> Response:
        """Send a blob or one range of it."""
        digest = grammar.digest(route.reference)
        if self._upstream is not None and self.storage.blob_size(route.repository, digest) is None:
            response = self._passed_through(self._upstream, request, route.repository, digest)
            if response is not None:
                return response
        size = self.storage.blob_size(route.repository, digest)
        if size is None:
            raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {route.repository!r}")
        response, first, length = _blob_head(request, digest, size)
        if response.status != 304:
            fd = self.storage.open_blob(route.repository, digest)
            if fd is None:
                raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {route.repository!r}")
            response.body = FileSpan(fd, first, length)
        return response

    def _announced(self, request: Request, repository: str, digest: str) -> Response | None:
        """The head for a blob that upstream has, by what its manifest says; nothing is fetched."""
        size = self.storage.announced_size(repository, digest)
        if size is None:
            return None
        response, _first, length = _blob_head(request, digest, size)
        response.body = Stream(iter(()), length)
        return response

    def _passed_through(
        self, upstream: Upstream, request: Request, repository: str, digest: str
    ) -> Response | None:
        """A response whose body is still on its way here; None when the blob has arrived or nobody has it."""
        if request.method == "HEAD":
            return self._announced(request, repository, digest)
        transfer = upstream.transfer(repository, digest)
        if transfer is None:
            return None
        response, first, length = _blob_head(request, digest, transfer.size)
        if response.status != 304:
            chunks = transfer.tail(first, length)
            if chunks is None:
                return None
            response.body = Stream(chunks, length)
        return response

    def delete_blob(self, _request: Request, route: Route) -> Response:
        """Make a blob invisible in the repository."""
        digest = grammar.digest(route.reference)
        if not self.storage.delete_blob(route.repository, digest):
            raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {route.repository!r}")
        return Response(202)

    # -- uploads ------------------------------------------------------------------------------------

    def post_uploads(self, request: Request, route: Route) -> Response:
        """Mount a blob, take one in a single request, or begin an upload."""
        wanted = request.query("mount")
        if wanted is not None and self._mount(request, route, wanted):
            return _blob_created(route, wanted)
        digest = request.query("digest")
        if digest is not None and wanted is None:
            grammar.digest(digest)
            upload = self._uploads.begin(route.repository)
            try:
                upload.append(request.body.chunks())
                self._uploads.commit(upload, digest)
            finally:
                self._uploads.cancel(upload)
            return _blob_created(route, digest)
        return _upload_state(202, self._uploads.begin(route.repository))

    def _mount(self, request: Request, route: Route, digest: str) -> bool:
        source = request.query("from")
        if not grammar.is_digest(digest) or (source is not None and not grammar.is_repository(source)):
            return False
        if self._gate.with_tokens and source is None:
            return False  # Which repositories the token may read is not known by name.
        if source is not None and not self._gate.may(request, "repository", source, "pull"):
            return False
        return self.storage.mount(route.repository, digest, source)

    def get_upload(self, _request: Request, route: Route) -> Response:
        """Say how far an upload is."""
        return self._uploads.use(route.repository, route.reference, lambda upload: _upload_state(204, upload))

    def patch_upload(self, request: Request, route: Route) -> Response:
        """Add a chunk: in order by Content-Range, or streamed without one."""

        def work(upload: Upload) -> Response:
            self._append(request, upload)
            return _upload_state(202, upload)

        return self._uploads.use(route.repository, route.reference, work)

    def put_upload(self, request: Request, route: Route) -> Response:
        """Add the last chunk, if there is one, and make the upload a blob."""
        digest = grammar.digest(request.query("digest") or "")

        def work(upload: Upload) -> Response:
            self._append(request, upload)
            self._uploads.commit(upload, digest)
            return _blob_created(route, digest)

        return self._uploads.use(route.repository, route.reference, work)

    def delete_upload(self, _request: Request, route: Route) -> Response:
        """Cancel an upload."""

        def work(upload: Upload) -> Response:
            self._uploads.cancel(upload)
            return Response(204)

        return self._uploads.use(route.repository, route.reference, work)

    @staticmethod
    def _append(request: Request, upload: Upload) -> None:
        header = request.headers.get("content-range")
        if header is None:
            upload.append(request.body.chunks())
            return
        try:
            first, last = grammar.content_range(header)
            if first != upload.offset:
                raise Refusal(416, "BLOB_UPLOAD_INVALID", f"the next byte is {upload.offset}, not {first}")
        except Refusal as refusal:
            refusal.headers.update(_upload_headers(upload))
            raise
        length = last - first + 1
        if request.body.declared_bytes not in (None, length):
            raise Refusal(
                400,
                "SIZE_INVALID",
                f"Content-Range has {length} bytes, Content-Length {request.body.declared_bytes}",
            )
        upload.append_exactly(request.body.chunks(), length)


def _json(document: object, link: str | None = None) -> Response:
    headers = {"Content-Type": "application/json"}
    if link is not None:
        headers["Link"] = link
    return Response(200, headers, json.dumps(document).encode())


def _check_reference(text: str) -> None:
    if not grammar.is_tag(text):
        if ":" in text:
            grammar.digest(text)
        else:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"{text[:200]!r} is neither a tag nor a digest")


def _matches(request: Request, digest: str) -> bool:
    tags = request.headers.get("if-none-match", "")
    return (
        any(each.strip().removeprefix("W/").strip('"') == digest for each in tags.split(","))
        if tags
        else False
    )


def _blob_head(request: Request, digest: str, size: int) -> tuple[Response, int, int]:
    """The response to a blob request without its body, and the first byte and the length of that.

    Raises: Refusal 416.
    """
    headers = {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
    }
    if _matches(request, digest):
        return Response(304, headers), 0, 0
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", f'"{digest}"') != f'"{digest}"':
        return Response(200, headers), 0, size
    chosen = grammar.byte_range(wanted, size)
    if chosen is None:
        return Response(200, headers), 0, size
    first, last = chosen
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(206, headers), first, last - first + 1


def _blob_created(route: Route, digest: str) -> Response:
    headers = {"Location": f"/v2/{route.repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(201, headers)


def _upload_headers(upload: Upload) -> dict[str, str]:
    return {
        "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.upload_id}",
        "Range": f"0-{max(0, upload.offset - 1)}",
        "Docker-Upload-UUID": upload.upload_id,
    }


def _upload_state(status: int, upload: Upload) -> Response:
    return Response(status, _upload_headers(upload))

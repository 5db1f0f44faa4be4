"""Images where they are: looked at, listed and deleted in their registry without being pulled."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from pycontainer.engine.attestations import statements
from pycontainer.engine.engine import Engine, current_engine
from pycontainer.errors import InvalidImage
from pycontainer.oci import Index, Platform, Reference, choose, jsontext

if TYPE_CHECKING:
    from pycontainer.engine.images import Image
    from pycontainer.oci import Descriptor, ImageConfig, Manifest
    from pycontainer.registry import Credentials, Resolved

__all__ = ["RemoteImage", "login", "logout"]


def login(
    registry: str,
    username: str = "",
    password: str = "",
    *,
    identity_token: str = "",
    engine: Engine | None = None,
) -> str:
    """Check an account with its registry and keep it as `docker login` does; returns the file's path.

    registry: its host, as "ghcr.io" or "localhost:5000"; "docker.io" is Docker Hub; with a path, as
    "ghcr.io/owner", the account is for what is below it. identity_token: an OAuth2 refresh token, in place of
    a password. The file is REGISTRY_AUTH_FILE, else Docker's config.json; where that names a credential
    helper, the helper gets the secret. All else in the file stays, and its mode is 0600.
    Raises: AuthDenied if the registry refuses the account, and then nothing is written; RegistryError;
    InvalidInput.
    """
    from pycontainer.registry import Credentials

    account: Credentials = Credentials(username=username, password=password, identity_token=identity_token)
    return (engine or current_engine()).registries.login(registry, account)


def logout(registry: str, *, engine: Engine | None = None) -> bool:
    """Remove what `login` kept of an account; whether there was one."""
    return (engine or current_engine()).registries.logout(registry)


@final
class RemoteImage:
    """What a reference names in its registry: an image, an index of several platforms, or an artifact.

    It is looked up once, when something of it is first asked for, and stays that: a tag that moves
    afterwards changes nothing here. Raises (in whatever asks the registry): NotFound, AuthDenied,
    RegistryError, InvalidImage.
    """

    def __init__(self, reference: str, *, engine: Engine | None = None) -> None:
        """reference: as for Image.pull. Raises: BadReference."""
        self._engine = engine or current_engine()
        self._reference = Reference.parse(reference)

    @property
    def reference(self) -> str:
        """The whole name."""
        return str(self._reference)

    @cached_property
    def _document(self) -> tuple[Descriptor, bytes, Manifest | Index]:
        return self._engine.registries.document(self._reference)

    @property
    def _pinned(self) -> Reference:
        return (
            self._reference.with_tag(None)
            if self._reference.digest
            else self._reference.with_digest(self._document[0].digest)
        )

    @property
    def descriptor(self) -> Descriptor:
        """Type, digest and size of its manifest or index."""
        return self._document[0]

    @property
    def digest(self) -> str:
        """Digest of its manifest, or of its index."""
        return self._document[0].digest

    @property
    def media_type(self) -> str:
        """Type of its manifest, or of its index."""
        return self._document[0].media_type

    @property
    def artifact_type(self) -> str:
        """What kind of artifact it is, or "" for an image."""
        return self._document[2].artifact_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of its manifest or index."""
        return self._document[2].annotations

    @property
    def manifest_bytes(self) -> bytes:
        """Its manifest or index as the registry keeps it."""
        return self._document[1]

    @property
    def manifest(self) -> dict[str, Any]:
        """Its manifest or index as a JSON object."""
        found = jsontext.parse(self.manifest_bytes, "manifest", len(self.manifest_bytes))
        assert isinstance(found, dict)  # it was decoded before
        return found

    @property
    def platforms(self) -> tuple[str, ...]:
        """What it can be pulled for, as "linux/arm64"; attestations are left out."""
        model = self._document[2]
        if isinstance(model, Index):
            known = [entry.platform for entry in model.manifests if entry.platform is not None]
            return tuple(
                str(platform.normalized()) for platform in known if platform.architecture != "unknown"
            )
        config = self._resolved(None).config
        return (str(Platform(os=config.os, architecture=config.architecture, variant=config.variant)),)

    def config(self, platform: str | None = None) -> ImageConfig:
        """The configuration of the image for a platform (default: this host's)."""
        return self._resolved(platform).config

    def size_bytes(self, platform: str | None = None) -> int:
        """What pulling it transfers: manifest, configuration and compressed layers."""
        found = self._resolved(platform)
        blobs = (found.manifest.config, *found.manifest.layers)
        return len(found.manifest_bytes) + sum(blob.size for blob in blobs)

    def inspect(self, platform: str | None = None) -> dict[str, Any]:
        """What `skopeo inspect` shows, without its list of tags."""
        found = self._resolved(platform)
        config = found.config
        return {
            "Name": self._reference.repository,
            "Digest": self.digest,
            "ImageId": found.manifest.config.digest,
            "Created": config.created,
            "DockerVersion": str(config.extra.get("docker_version", "")),
            "Labels": dict(config.config.labels),
            "Architecture": config.architecture,
            "Os": config.os,
            "Variant": config.variant,
            "Layers": [layer.digest for layer in found.manifest.layers],
            "LayersData": [
                {
                    "MIMEType": layer.media_type,
                    "Digest": layer.digest,
                    "Size": layer.size,
                    "Annotations": dict(layer.annotations),
                }
                for layer in found.manifest.layers
            ],
            "Env": list(config.config.env),
        }

    def referrers(self, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to it (signatures, SBOMs and other artifacts), of one type if given."""
        return tuple(self._engine.registries.referrers(self._reference, self.digest, artifact_type))

    def attestations(self, platform: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """The in-toto statements (provenance, SBOMs) that BuildKit put into the index for a platform."""
        model = self._document[2]
        if not isinstance(model, Index):
            return ()
        wanted = choose(model, Platform.host() if platform is None else Platform.parse(platform)).digest
        return statements(model, wanted, self._engine.registries.source(self._reference))

    def pull(self, platform: str | None = None) -> Image:
        """Pull exactly this, though the tag may have moved; it gets the tag's name."""
        from pycontainer.engine.images import Image

        return Image.pull(str(self._pinned), platform=platform, engine=self._engine)

    def delete(self) -> None:
        """Delete it from the registry: by a tag only that tag, by a digest the manifest with all its tags.

        Raises: NotFound; RegistryError where the registry does not allow it. Some delete by digest only.
        """
        self._engine.registries.delete(self._reference)

    @property
    def exists(self) -> bool:
        """Whether the registry has it now."""
        from pycontainer.errors import NotFound

        try:
            self._engine.registries.describe(self._reference)
        except NotFound:
            return False
        return True

    @classmethod
    def tags(cls, repository: str, *, engine: Engine | None = None) -> list[str]:
        """All tags of a repository, in the registry's order."""
        return (engine or current_engine()).registries.tags(Reference.parse(repository))

    @classmethod
    def repositories(cls, registry: str, pattern: str = "*", *, engine: Engine | None = None) -> list[str]:
        """Names of the repositories of a registry that lists them, which fit a pattern such as "team/*".

        Raises: NotFound or RegistryError where it does not list them, as most public ones.
        """
        found = (engine or current_engine()).registries.repositories(registry)
        return [f"{registry}/{name}" for name in found if fnmatchcase(name, pattern)]

    def _resolved(self, platform: str | None) -> Resolved:
        if self.artifact_type and not isinstance(self._document[2], Index):
            raise InvalidImage(f"{self._reference} is an artifact of type {self.artifact_type}, no image")
        wanted = None if platform is None else Platform.parse(platform)
        return self._engine.registries.resolve(self._pinned, wanted)

    def __repr__(self) -> str:
        return f"RemoteImage({self._reference.familiar!r})"

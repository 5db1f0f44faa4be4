"""Servers that speak HTTP."""

from __future__ import annotations

from pycontainer.engine import waits
from pycontainer.services.service import Service

__all__ = ["minio", "nginx", "registry"]


def nginx(image: str = "nginx:1.27", *, port: int = 80) -> Service:
    """nginx; mount a site with `with_options(volumes=["./site:/usr/share/nginx/html:ro"])`."""
    return Service(
        image=image, port=port, wait=waits.http("/", port, status=range(200, 500)), url="http://{host}:{port}"
    )


def minio(
    image: str = "minio/minio:latest", *, access_key: str = "minioadmin", secret_key: str = "minioadmin"
) -> Service:
    """MinIO, an object store with S3's protocol; its console is on port 9001.

    Source: the deployment guide and the health check API of min.io (/minio/health/live).
    """
    return Service(
        image=image,
        port=9000,
        ports=(9001,),
        command=["server", "/data", "--console-address", ":9001"],
        env={"MINIO_ROOT_USER": access_key, "MINIO_ROOT_PASSWORD": secret_key},
        settings={"access_key": access_key, "secret_key": secret_key},
        wait=waits.http("/minio/health/live", 9000),
        url="http://{host}:{port}",
    )


def registry(image: str = "registry:2") -> Service:
    """The reference registry, for what `pc.Registry`, which needs no image, does not do.

    Its url has no scheme: with a repository after it, it is an image's name. Source: distribution's
    documentation, "Deploying a registry server".
    """
    return Service(image=image, port=5000, wait=waits.http("/v2/", 5000), url="{host}:{port}")

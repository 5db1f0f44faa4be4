from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.errors import InvalidOption, Unsupported
from pycontainer.oci import Reference
from pycontainer.registry import RegistryClient

WRONG: dict[str, tuple[type, dict[str, Any], str]] = {
    "mirrors": (pc.RegistryConfig, {"mirrors": ("http://m",)}, r"mirrors.*pc\.Mirror"),
    "mirror alone": (pc.RegistryConfig, {"mirrors": "http://m"}, r"mirrors.*pc\.Mirror"),
    "proxies": (pc.RegistryConfig, {"proxies": "http://x"}, r"proxies.*pc\.Proxies"),
    "limits": (pc.RegistryConfig, {"limits": {"parallel_downloads": 3}}, r"limits.*pc\.Limits"),
    "retries": (pc.RegistryConfig, {"retries": 3}, r"retries.*pc\.Retries"),
    "timeouts": (pc.RegistryConfig, {"timeouts": 3}, r"timeouts.*pc\.Timeouts"),
    "credentials": (pc.RegistryConfig, {"credentials": "me:s3cret"}, r"credentials.*pc\.Credentials"),
    "account": (pc.RegistryConfig, {"credentials": {"a": ("me", "s3cret")}}, r"'a'.*pc\.Credentials"),
    "certs_dirs": (pc.RegistryConfig, {"certs_dirs": "/etc"}, r"certs_dirs.*\(\"/etc/docker"),
    "ca_files": (pc.RegistryConfig, {"ca_files": (3,)}, "ca_files"),
    "login_file": (pc.RegistryConfig, {"login_file": 3}, "login_file"),
    "insecure": (pc.RegistryConfig, {"insecure": "reg.lan"}, r"insecure=\(\"registry\.lan"),
    "rules": (pc.RegistryConfig, {"rules": ("x",)}, "rules"),
    "bypass": (pc.Proxies, {"bypass": "a,b"}, "bypass"),
    "proxy scheme": (pc.Proxies, {"https": "ftp://me:s3cret@x"}, r"proxies\.https.*http://host:port"),
    "proxy port": (pc.Proxies, {"http": "http://me:s3cret#@x:y"}, r"proxies\.http"),
    "proxy type": (pc.Proxies, {"http": 3128}, r"proxies\.http"),
    "number": (pc.Limits, {"parallel_downloads": "3"}, "parallel_downloads"),
    "attempts": (pc.Retries, {"attempts": 0}, "attempts"),
    "seconds": (pc.Timeouts, {"connect_s": -1}, "connect_s"),
    "engine": (pc.Engine, {"registry": "x"}, r"registry.*pc\.RegistryConfig"),
    "tls": (pc.Registry, {"tls": ("a.crt", "a.key")}, r"tls.*pc\.TlsFiles"),
    "upstream": (pc.Registry, {"upstream": "a.example", "upstream_config": {}}, "upstream_config"),
    "auth": (pc.Registry, {"auth": "me:s3cret"}, "auth"),
}


@pytest.mark.parametrize(("kind", "options", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_refused_with_what_to_give(kind: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption, match=text) as caught:
        kind(**options)
    assert "s3cret" not in str(caught.value)


def test_paths_may_be_text() -> None:
    config = pc.RegistryConfig(certs_dirs=["/a"], ca_files=("/b",), auth_files=("/c",), login_file="/d")
    assert config.certs_dirs == (Path("/a"),)
    assert config.login_file == Path("/d")


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"])
def test_a_variable_that_names_no_proxy_is_named(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name}: 'ftp://.*give http://") as caught:
        pc.RegistryConfig.from_environment({name: "ftp://me:s3cret@x"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed, which makes SOCKS work")
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_says_what_it_needs(scheme: str) -> None:
    config = pc.RegistryConfig.from_environment({"https_proxy": f"{scheme}://me:s3cret@127.0.0.1:1"})
    with (
        RegistryClient(config) as client,
        pytest.raises(
            Unsupported, match=rf"{scheme}://127\.0\.0\.1:1.*https_proxy.*httpx\[socks\]"
        ) as caught,
    ):
        client.describe(Reference.parse("reg.invalid/app:1"))
    assert "s3cret" not in str(caught.value)

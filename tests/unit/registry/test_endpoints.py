from __future__ import annotations

from pathlib import Path

import pytest

from pycontainer.errors import InvalidOption
from pycontainer.oci import Reference
from pycontainer.registry import Mirror, Proxies, RegistryConfig
from pycontainer.registry.endpoints import (
    Endpoint,
    Scheme,
    bypasses_proxy,
    endpoints_for,
    host_matches,
    is_loopback,
    schemes_for,
)

HTTP, HTTPS, UNVERIFIED = Scheme("http"), Scheme("https"), Scheme("https", is_verified=False)


def test_docker_io_is_served_by_registry_1() -> None:
    [endpoint] = endpoints_for(Reference.parse("alpine"), RegistryConfig())
    assert (endpoint.host, endpoint.domain, endpoint.account) == (
        "registry-1.docker.io",
        "docker.io",
        "docker.io",
    )


def test_mirrors_come_first_in_their_order_and_only_for_their_registry() -> None:
    config = RegistryConfig(
        mirrors=(
            Mirror(url="https://one.example/"),
            Mirror(url="http://two.example:5000/cache", resolves_tags=False),
            Mirror(url="https://quay.mirror.example", registry="quay.io"),
        )
    )
    one, two, registry = endpoints_for(Reference.parse("alpine"), config)
    assert (one.host, one.scheme, one.path, one.resolves_tags) == ("one.example", "https", "", True)
    assert (two.host, two.scheme, two.path, two.resolves_tags) == (
        "two.example:5000",
        "http",
        "/cache",
        False,
    )
    assert registry.host == "registry-1.docker.io"
    assert [endpoint.host for endpoint in endpoints_for(Reference.parse("quay.io/a/b"), config)] == [
        "quay.mirror.example",
        "quay.io",
    ]
    assert len(endpoints_for(Reference.parse("ghcr.io/a/b"), config)) == 1


def test_a_mirror_has_an_account_of_its_own() -> None:
    config = RegistryConfig(mirrors=(Mirror(url="https://one.example"),))
    assert endpoints_for(Reference.parse("alpine"), config)[0].account == "one.example"


@pytest.mark.parametrize("url", ["one.example", "ftp://one.example", ""])
def test_a_mirror_needs_a_scheme(url: str) -> None:
    with pytest.raises(InvalidOption):
        Mirror(url=url)


@pytest.mark.parametrize("url", ["https://u:p@one.example", "https://one.example?x=1", "https://"])
def test_a_mirror_is_scheme_host_and_path_only(url: str) -> None:
    with pytest.raises(InvalidOption):
        endpoints_for(Reference.parse("alpine"), RegistryConfig(mirrors=(Mirror(url=url),)))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("ghcr.io", [HTTPS]),
        ("localhost:5000", [HTTP]),
        ("127.0.0.1:5000", [HTTP]),
        ("[::1]:5000", [HTTP]),
        ("127.9.9.9", [HTTP]),
        ("secure.localhost:1", [HTTPS]),
        ("lan.example:5000", [UNVERIFIED, HTTP]),
        ("10.1.2.3:5000", [UNVERIFIED, HTTP]),
        ("10.2.2.3:5000", [HTTPS]),
    ],
)
def test_only_loopback_and_what_is_configured_goes_without_tls(host: str, expected: list[Scheme]) -> None:
    config = RegistryConfig(
        insecure=("lan.example", "10.1.0.0/16"), secure=("secure.localhost",), certs_dirs=()
    )
    assert schemes_for(Endpoint(host=host, domain=host), config) == expected


def test_a_certs_directory_means_that_a_loopback_registry_speaks_tls(tmp_path: Path) -> None:
    (tmp_path / "localhost:5000").mkdir()
    config = RegistryConfig(certs_dirs=(tmp_path,))
    assert schemes_for(Endpoint(host="localhost:5000", domain="x"), config) == [HTTPS]
    assert schemes_for(Endpoint(host="localhost:5001", domain="x"), config) == [HTTP]


def test_a_mirrors_scheme_is_fixed() -> None:
    endpoint = Endpoint(host="m.example", domain="docker.io", scheme="https", is_mirror=True)
    assert schemes_for(endpoint, RegistryConfig(insecure=("m.example",))) == [UNVERIFIED]
    assert schemes_for(endpoint, RegistryConfig()) == [HTTPS]


@pytest.mark.parametrize(
    ("host", "pattern", "matches"),
    [
        ("a.io:5000", "a.io:5000", True),
        ("a.io:5000", "a.io", True),
        ("a.io:5000", "a.io:5001", False),
        ("a.io", "b.a.io", False),
        ("b.a.io", "a.io", False),
        ("[fd00::1]:5000", "fd00::/8", True),
        ("10.0.0.5", "10.0.0.0/24", True),
        ("name", "10.0.0.0/24", False),
    ],
)
def test_hosts_match_exactly_by_name_or_by_network(host: str, pattern: str, matches: bool) -> None:
    assert host_matches(host, pattern) is matches


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidOption):
        host_matches("10.0.0.1", "10.0.0.0/99")


@pytest.mark.parametrize(
    ("host", "is_near"),
    [("localhost", True), ("127.0.0.1:1", True), ("localhost.example", False), ("128.0.0.1", False)],
)
def test_loopback_is_told_by_name_or_address(host: str, is_near: bool) -> None:
    assert is_loopback(host) is is_near


@pytest.mark.parametrize(
    ("host", "bypass", "is_direct"),
    [
        ("localhost:5000", (), True),
        ("a.example", (), False),
        ("a.example", ("*",), True),
        ("a.example", ("example",), True),
        ("a.example", (".example",), True),
        ("aexample", ("example",), False),
        ("a.example:5000", ("a.example:5000",), True),
        ("a.example:5000", ("a.example:6000",), False),
        ("a.example", ("a.example:443",), True),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("[fd00::1]:5000", ("fd00::1",), True),
        ("[fd00::1]:5000", ("fd00::/8",), True),
    ],
)
def test_no_proxy_is_read_as_its_common_forms(host: str, bypass: tuple[str, ...], is_direct: bool) -> None:
    assert bypasses_proxy(host, "https", bypass) is is_direct


def test_the_environment_is_read_only_where_it_is_given() -> None:
    environ = {
        "HOME": "/home/me",
        "XDG_RUNTIME_DIR": "/run/user/7",
        "PATH": "/bin",
        "https_proxy": "http://proxy:3128",
        "HTTP_PROXY": "http://me:s3cret@proxy:3128",
        "NO_PROXY": "a, .b ,",
        "AWS_PROFILE": "x",
        "LD_PRELOAD": "evil",
        "DOCKER_AUTH_CONFIG": "{}",
    }
    config = RegistryConfig.from_environment(environ, insecure=("lan",))
    assert config.auth_files == (
        Path("/run/user/7/containers/auth.json"),
        Path("/home/me/.config/containers/auth.json"),
        Path("/home/me/.docker/config.json"),
    )
    assert config.proxies == Proxies(
        http="http://me:s3cret@proxy:3128", https="http://proxy:3128", bypass=("a", ".b")
    )
    assert "s3cret" not in repr(config)
    assert "LD_PRELOAD" not in config.helper_environment
    assert config.helper_environment["AWS_PROFILE"] == "x"
    assert config.inline_auth == "{}"
    assert config.insecure == ("lan",)
    assert RegistryConfig() == RegistryConfig(proxies=Proxies(), auth_files=())


def test_docker_config_and_registry_auth_file_move_the_files() -> None:
    config = RegistryConfig.from_environment({"HOME": "/h", "DOCKER_CONFIG": "/d"})
    assert config.auth_files[-1] == Path("/d/config.json")
    only = RegistryConfig.from_environment(
        {"HOME": "/h", "DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/x.json"}
    )
    assert only.auth_files == (Path("/x.json"),)


def test_a_cgi_program_takes_no_proxy_from_its_clients() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil:1"}
    assert RegistryConfig.from_environment(environ).proxies.http is None

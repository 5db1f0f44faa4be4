"""Files, variables, `extends`, `include` and profiles: what an application is, and where it is wrong."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

import pycontainer as pc
from pycontainer.compose import uninterpolated
from pycontainer.compose.loading import find_files
from pycontainer.errors import ComposeFileError, InvalidInput, NotFound


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "My.App"
    directory.mkdir()
    return directory


def write(directory: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)


def loaded(directory: Path, *names: str, **options: Any) -> pc.Compose:
    options.setdefault("env", {})
    return pc.Compose([directory / name for name in names or ("compose.yaml",)], **options)


WEB = "services:\n  web:\n    image: busybox\n"


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        ("imagee: x", "services.web.imagee", "do you mean 'image'?"),
        ("ports: 80", "services.web.ports", "a list is expected"),
        ("ports: ['80:x']", "services.web.ports[0]", "is no port"),
        ("ports: ['1-2:1-3']", "services.web.ports[0]", "2 ports of the host cannot be 3"),
        ("ports: [{published: 80}]", "services.web.ports[0]", "'target' is missing"),
        ("volumes: ['a:b:c:d']", "services.web.volumes[0]", "is no volume"),
        ("volumes: ['data:rel']", "services.web.volumes[0]", "absolute path"),
        ("volumes: ['data:/d']", "services.web.volumes[0]", "there is no volume 'data'"),
        ("networks: [front]", "services.web.networks", "there is no network 'front'"),
        ("secrets: [s]", "services.web.secrets[0]", "there is no secret 's'"),
        ("secrets: [{source: s, target: ../../etc/passwd}]", "services.web.secrets[0]", "leads out"),
        ("depends_on: [db]", "services.web.depends_on", "there is no service 'db'"),
        ("depends_on: [web]", "services.web.depends_on", "cannot wait for itself"),
        ("depends_on: {db: {condition: ready}}", "services.web.depends_on.db.condition", "one of service"),
        ("tty: maybe", "services.web.tty", "true or false is expected, not 'maybe'"),
        ("mem_limit: lots", "services.web.mem_limit", "'lots'"),
        ("stop_grace_period: soon", "services.web.stop_grace_period", "1m30s"),
        ("restart: sometimes", "services.web.restart", "unless-stopped"),
        ("environment: 5", "services.web.environment", "a mapping, or a list of KEY=VALUE"),
        ("healthcheck: {retries: many}", "services.web.healthcheck.retries", "a whole number"),
        ("command: \"echo 'x\"", "services.web.command", "quotation"),
        ("deploy: {replicas: 2}\n    container_name: one", "services.web.container_name", "2 containers"),
        ("network_mode: host\n    networks: [default]", "services.web.network_mode", "exclude each other"),
        ("scale: 2\n    deploy: {replicas: 3}", "services.web.scale", "different numbers"),
        ("image: ${TAG:?set it}", "services.web.image", "TAG is missing a value: set it"),
        ("env_file: nowhere.env", "", "nowhere.env"),
        ("build: {context: ., dockerfile: a, dockerfile_inline: b}", "services.web.build", "exclude"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_file_line_and_path(
    project: Path, line: str, path: str, problem: str
) -> None:
    write(
        project,
        {
            "compose.yaml": WEB.replace("    image: busybox\n", "")
            + ("" if "image" in line or "build" in line else "    image: busybox\n")
            + f"    {line}\n"
        },
    )
    with pytest.raises(ComposeFileError) as caught:
        loaded(project)
    assert caught.value.path == path
    assert problem in str(caught.value)
    if path:
        assert caught.value.file.endswith("compose.yaml")
        assert caught.value.line >= 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services: {web: {}}", "needs an image, or build"),
        ("services: {'a b': {image: x}}", "is no name"),
        ("service: {}", "do you mean 'services'?"),
        ("services: [web]", "a mapping is expected"),
        ("services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}", "a -> b -> a"),
        ("services: {a: {image: x, extends: b}, b: {image: x, extends: a}}", "extend each other"),
        ("services: {a: {image: x, extends: c}}", "no service 'c' to extend"),
        ("include: [compose.yaml]", "include each other"),
        ("include: ['https://example.com/compose.yaml']", "neither in a registry"),
        ("secrets: {s: {file: a, content: b}}", "one of file, environment and content"),
        ("services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}", "nothing keeps external"),
        ("networks: {n: {external: true, driver: bridge}}", "an external network is as it is"),
    ],
)
def test_what_does_not_fit_together_is_refused(project: Path, text: str, problem: str) -> None:
    write(project, {"compose.yaml": text})
    with pytest.raises(ComposeFileError, match=problem):
        loaded(project)


def test_what_no_service_uses_need_not_be_there(project: Path) -> None:
    unused = "secrets: {a: {external: true}, b: {environment: NOPE}}\nvolumes: {v: {external: true}}\n"
    write(project, {"compose.yaml": WEB + unused})
    assert list(loaded(project).project.services) == ["web"]


class TestVariables:
    def test_the_environment_wins_over_the_file_of_variables(self, project: Path) -> None:
        write(project, {".env": "A=file\nB=file\n", "compose.yaml": "services: {web: {image: '$A-$B'}}"})
        app = loaded(project, env={"A": "env"})
        assert app.project.services["web"].image == "env-file"

    def test_env_files_are_read_instead(self, project: Path) -> None:
        write(
            project,
            {".env": "A=1", "other": "A=2\nB=$A", "compose.yaml": "services: {web: {image: '$A-$B'}}"},
        )
        assert loaded(project, env_files=[project / "other"]).project.services["web"].image == "2-2"

    def test_a_variable_that_is_not_set_is_a_warning(self, project: Path) -> None:
        write(project, {"compose.yaml": "services: {web: {image: 'x$NOPE'}}"})
        assert loaded(project).warnings == (
            "the variable 'NOPE' is not set, and an empty text is put in for it",
        )

    def test_the_name_of_the_project_can_be_put_in(self, project: Path) -> None:
        write(project, {"compose.yaml": "name: n${X}\nservices: {web: {image: '$COMPOSE_PROJECT_NAME'}}"})
        assert loaded(project, env={"X": "1"}).project.services["web"].image == "n1"

    def test_a_service_has_its_files_variables_and_those_of_the_environment(self, project: Path) -> None:
        write(
            project,
            {
                "a.env": "A=a\nB=a\nC=a\nHOME2=$OUTER",
                "b.env": "B=b",
                "compose.yaml": WEB
                + "    env_file: [a.env, b.env, {path: none.env, required: false}]\n"
                + "    environment: {C: c, OUTER: , MISSING: , D: 1.5, E: true}\n",
            },
        )
        assert loaded(project, env={"OUTER": "o"}).project.services["web"].environment == {
            "A": "a", "B": "b", "C": "c", "HOME2": "o", "OUTER": "o", "D": "1.5", "E": "true",
        }  # fmt: skip


class TestNames:
    def test_the_directory_gives_the_name(self, project: Path) -> None:
        write(project, {"compose.yaml": WEB})
        assert loaded(project).name == "myapp"

    def test_the_argument_wins_over_the_variable_over_the_file(self, project: Path) -> None:
        write(project, {"compose.yaml": f"name: file\n{WEB}"})
        assert loaded(project).name == "file"
        assert loaded(project, env={"COMPOSE_PROJECT_NAME": "env"}).name == "env"
        assert loaded(project, env={"COMPOSE_PROJECT_NAME": "env"}, project="given").name == "given"
        with pytest.raises(InvalidInput, match="lower-case"):
            loaded(project, project="No Name")

    def test_the_default_network_is_there_for_who_names_it(self, project: Path) -> None:
        write(project, {"compose.yaml": f"{WEB}    networks: [default, front]\nnetworks: {{front: }}"})
        assert set(loaded(project).project.networks) == {"default", "front"}

    def test_resources_have_the_name_of_the_project_in_front(self, project: Path) -> None:
        text = "networks: {a: , b: {name: bee}, c: {external: true}, d: {external: {name: dee}}}"
        write(project, {"compose.yaml": f"{WEB}{text}\nvolumes: {{v: }}"})
        found = loaded(project, project="p").project
        assert {key: each.name for key, each in found.networks.items()} == {
            "a": "p_a", "b": "bee", "c": "c", "d": "dee", "default": "p_default",
        }  # fmt: skip
        assert found.volumes["v"].name == "p_v"


class TestFiles:
    def test_a_directory_is_searched_upwards_with_its_override(self, project: Path) -> None:
        write(
            project,
            {
                "docker-compose.yml": WEB,
                "docker-compose.override.yml": "services: {web: {user: me}}",
                "sub/x": "",
            },
        )
        assert find_files(project / "sub") == [
            project / "docker-compose.yml",
            project / "docker-compose.override.yml",
        ]
        assert pc.Compose(project, env={}).project.services["web"].keys["user"] == "me"
        write(project, {"sub/compose.yaml": WEB})
        assert find_files(project / "sub") == [project / "sub/compose.yaml"]

    def test_no_file_is_an_error_that_says_where(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no compose.yaml in"):
            find_files(tmp_path)
        with pytest.raises(ComposeFileError, match="No such file"):
            pc.Compose(tmp_path / "nope.yaml")

    def test_paths_are_relative_to_the_first_file(self, project: Path) -> None:
        write(
            project,
            {"compose.yaml": WEB, "sub/o.yaml": "services: {web: {volumes: ['./data:/d', '~/h:/h']}}"},
        )
        mounts = loaded(project, "compose.yaml", "sub/o.yaml").project.services["web"].keys["volumes"]
        assert [each["source"] for each in mounts] == [str(project / "data"), os.path.expanduser("~/h")]


class TestExtends:
    def test_a_service_of_another_file_keeps_its_own_directory(self, project: Path) -> None:
        write(
            project,
            {
                "common/base.yaml": "services:\n"
                "  base: {image: b, volumes: ['./x:/x'], environment: {A: 1, B: 1}}\n"
                "  middle: {extends: base, environment: {B: 2}}\n",
                "compose.yaml": "services:\n  web:\n    extends: {file: common/base.yaml, service: middle}\n"
                "    environment: [C=3]\n",
            },
        )
        web = loaded(project).project.services["web"]
        assert (web.image, web.environment) == ("b", {"A": "1", "B": "2", "C": "3"})
        assert web.keys["volumes"][0]["source"] == str(project / "common/x")


class TestInclude:
    def test_included_services_are_there_with_their_own_directory_and_variables(self, project: Path) -> None:
        write(
            project,
            {
                "inner/compose.yaml": "services: {db: {image: 'db:${V}', env_file: e, environment: [V]}}\n"
                "volumes: {d: }",
                "inner/.env": "V=inner",
                "inner/e": "X=1",
                "compose.yaml": f"include: [inner/compose.yaml]\n{WEB}    depends_on: [db]\n",
            },
        )
        found = loaded(project).project
        assert found.services["db"].image == "db:inner"
        assert found.services["db"].environment == {"X": "1", "V": "inner"}
        assert found.volumes["d"].name == "myapp_d"
        assert loaded(project, env={"V": "outer"}).project.services["db"].image == "db:outer"

    def test_what_is_there_twice_is_a_conflict_that_an_override_file_is_not(self, project: Path) -> None:
        inner = "services: {web: {image: other}}"
        write(
            project,
            {
                "a.yaml": inner,
                "compose.yaml": f"include: [a.yaml]\n{WEB}",
                "o.yaml": "include: [a.yaml]",
                "p.yaml": "services: {web: {user: me}}",
            },
        )
        with pytest.raises(ComposeFileError, match=r"services.web conflicts"):
            loaded(project)
        web = loaded(project, "o.yaml", "p.yaml").project.services["web"]
        assert (web.image, web.keys["user"]) == ("other", "me")


class TestProfiles:
    TEXT = """
services:
  web: {image: x}
  debug: {image: x, profiles: [dev], depends_on: [web]}
  test: {image: x, profiles: [ci, dev]}
"""

    @pytest.mark.parametrize(
        ("profiles", "env", "expected"),
        [
            ((), {}, {"web"}),
            (("dev",), {}, {"web", "debug", "test"}),
            (("ci",), {}, {"web", "test"}),
            (("*",), {}, {"web", "debug", "test"}),
            ((), {"COMPOSE_PROFILES": "ci,other"}, {"web", "test"}),
        ],
    )
    def test_profiles_switch_services_on(
        self, project: Path, profiles: tuple[str, ...], env: dict[str, str], expected: set[str]
    ) -> None:
        write(project, {"compose.yaml": self.TEXT})
        assert set(loaded(project, profiles=profiles, env=env).project.services) == expected

    def test_a_service_that_is_off_cannot_be_needed(self, project: Path) -> None:
        text = self.TEXT + "  main: {image: x, depends_on: [test]}\n"
        write(project, {"compose.yaml": text})
        with pytest.raises(ComposeFileError, match="profiles ci, dev switch on"):
            loaded(project)
        optional = "{test: {condition: service_started, required: false}}"
        write(project, {"compose.yaml": text.replace("[test]", optional)})
        assert "main" in loaded(project).project.services


def test_the_whole_reads_back_as_the_same(project: Path) -> None:
    write(
        project,
        {
            "compose.yaml": """
name: whole
x-common: &common {restart: always}
services:
  web:
    <<: *common
    image: busybox
    command: echo $$HOME
    ports: ["8080-8081:80-81", "127.0.0.1:53:53/udp"]
    volumes: ["data:/data:ro", "./src:/src", {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0755}}]
    healthcheck: {test: "true", interval: 1m30s, start_period: 500ms}
    stop_grace_period: 1m
    mem_limit: 64m
    configs: [{source: c, target: /c, mode: 0440}]
    deploy: {resources: {limits: {cpus: "0.5"}}}
volumes: {data: }
configs: {c: {content: "$$x"}}
"""
        },
    )
    first = loaded(project)
    write(project, {"again.yaml": first.config_text()})
    assert loaded(project, "again.yaml").config() == first.config()
    assert first.project.services["web"].keys["command"] == ["echo", "$HOME"]


def test_variables_can_be_left_as_they_stand(project: Path) -> None:
    write(
        project,
        {
            "compose.yaml": """
services:
  web:
    extends: {service: base}
    image: "app:${TAG:?needed}"
    ports: ["${PORT}:80", "81:81"]
    mem_limit: ${MEMORY}
    volumes: ["${DATA}:/data"]
    environment: ["A=${B}", "C=$$d"]
    healthcheck: {test: "true", interval: 5s, timeout: "${T}s"}
  base: {image: x, build: ./here}
""",
            "more.yaml": "services: {web: {environment: {E: $F}}}",
        },
    )
    found = uninterpolated([project / "compose.yaml", project / "more.yaml"])
    web = found["services"]["web"]
    assert (found["name"], web["image"], web["mem_limit"]) == ("myapp", "app:${TAG:?needed}", "${MEMORY}")
    assert web["ports"][0] == "${PORT}:80"
    assert web["environment"] == {"A": "${B}", "C": "$$d", "E": "$F"}
    assert web["healthcheck"] == {"test": ["CMD-SHELL", "true"], "interval": "5s", "timeout": "${T}s"}
    assert web["build"]["context"] == str(project / "here")
    write(project, {"compose.yaml": "services: {web: {image: x, mem_limit: lots}}"})
    with pytest.raises(ComposeFileError, match="lots"):
        uninterpolated(project / "compose.yaml")


def test_some_services_are_shown_with_what_they_use(project: Path) -> None:
    write(
        project,
        {
            "compose.yaml": """
services:
  web: {image: x, depends_on: [db], volumes: ["data:/d"], secrets: [own]}
  db: {image: y, networks: [back]}
  other: {image: z, volumes: ["rest:/r"]}
volumes: {data: , rest: }
networks: {back: , front: }
secrets: {own: {content: a}, unused: {content: b}}
"""
        },
    )
    found = loaded(project).config("web")
    assert {key: list(value) for key, value in found.items() if key != "name"} == {
        "services": ["web", "db"],
        "networks": ["back", "default"],
        "volumes": ["data"],
        "secrets": ["own"],
    }
    hashes = loaded(project).config_hashes()
    assert list(hashes) == ["web", "db", "other"]
    write(project, {"compose.override.yaml": "services: {db: {user: me}}"})
    changed = loaded(project, "compose.yaml", "compose.override.yaml").config_hashes()
    assert [name for name in hashes if hashes[name] != changed[name]] == ["db"]


def test_a_file_comes_from_the_standard_input(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"services: {web: {build: ./x}}")))
    found = pc.Compose("-", env={})
    assert (found.name, found.project.files) == ("myapp", ("-",))
    assert found.project.services["web"].keys["build"]["context"] == str(project / "x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"services: []")))
    with pytest.raises(ComposeFileError, match="standard input"):
        pc.Compose("-", env={})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("services: {web: {extends: {service: a, file: 'oci://h/a'}}}", "services.web.extends.file"),
        ("services: {web: {extends: {service: a, file: 'https://me:hidden@h/a.git'}}}", "extends.file"),
        ("include: [{path: a.yaml, env_file: 'oci://h/a'}]", "include[0].env_file"),
    ],
)
def test_files_that_are_not_fetched_are_refused(project: Path, text: str, path: str) -> None:
    write(project, {"compose.yaml": text, "a.yaml": "services: {}"})
    with pytest.raises(ComposeFileError, match="not of this host; fetch it first") as error:
        loaded(project)
    assert path in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{path: ./x, action: sync}", "'target' is missing"),
        ("{path: ./x, action: move}", "one of sync, rebuild"),
        ("{action: rebuild}", "'path' is missing"),
    ],
)
def test_what_is_to_be_watched_is_checked(project: Path, entry: str, problem: str) -> None:
    write(project, {"compose.yaml": f"{WEB}    develop: {{watch: [{entry}]}}\n"})
    with pytest.raises(ComposeFileError, match=problem):
        loaded(project)

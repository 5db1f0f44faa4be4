"""What instructions do to an image's configuration, and what its history says of them."""

from __future__ import annotations

import pytest

from pycontainer.build.config import apply, copy_text, run_text, workdir
from pycontainer.build.dockerfile import model
from pycontainer.build.steps import StageState, destination, key_of, mode_of
from pycontainer.build.worker import Layer
from pycontainer.errors import InvalidInput
from pycontainer.launcher.building.copying import changed_mode
from pycontainer.oci import ContainerConfig, Descriptor, Digest, Healthcheck, Platform
from pycontainer.store import SnapshotKey


def shell(text: str) -> model.Command:
    return model.Command(words=(text,), is_shell=True)


def pairs(**values: str) -> tuple[model.Pair, ...]:
    return tuple(model.Pair(name=name, value=value) for name, value in values.items())


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (model.Env(pairs=pairs(A="1", B="x y")), "ENV A=1 B=x y"),
        (model.Label(pairs=pairs(a="b")), "LABEL a=b"),
        (model.User(user="me:us"), "USER me:us"),
        (model.Expose(ports=("53/udp", "80")), "EXPOSE [53/udp 80/tcp]"),
        (model.Volume(paths=("/a", "/b")), "VOLUME [/a /b]"),
        (model.Cmd(command=shell("a b")), 'CMD ["/bin/sh" "-c" "a b"]'),
        (
            model.Entrypoint(command=model.Command(words=('q"', "é\n\x01"), is_shell=False)),
            'ENTRYPOINT ["q\\"" "é\\n\\x01"]',
        ),
        (model.Shell(words=("/bin/bash", "-c")), "SHELL [/bin/bash -c]"),
        (model.StopSignal(signal="SIGTERM"), "STOPSIGNAL SIGTERM"),
        (model.Arg(args=(model.Declaration(name="A"), model.Declaration(name="B", value="1"))), "ARG A B=1"),
        (model.OnBuild(trigger="RUN x"), ""),
        (model.Maintainer(name="me"), "MAINTAINER me"),
        (
            model.HealthCheck(
                healthcheck=Healthcheck(
                    test=("CMD-SHELL", "x"), interval_ns=90 * 10**9, timeout_ns=1_500_000, retries=2
                )
            ),
            ("HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:1.5ms "
            "StartPeriod:0s StartInterval:0s Retries:2}"),
        ),
    ],
    ids=lambda value: value.keyword if isinstance(value, model.Instruction) else "",
)  # fmt: skip
def test_the_history_is_told_as_buildkit_does(instruction: model.Instruction, text: str) -> None:
    made = apply(ContainerConfig(), instruction)
    assert made is not None
    assert made[1] == text


def test_what_makes_a_layer_is_no_change_of_the_configuration() -> None:
    assert apply(ContainerConfig(), model.Run(command=shell("true"))) is None
    assert apply(ContainerConfig(), model.Workdir(path="/x")) is None


def test_variables_keep_their_place_and_ports_are_added_once() -> None:
    config = ContainerConfig(env=("PATH=/bin", "A=1"), exposed_ports=("80/tcp",))
    assert apply(config, model.Env(pairs=pairs(B="2", PATH="/x")))[0].env == ("PATH=/x", "A=1", "B=2")  # type: ignore[index]
    exposed = apply(config, model.Expose(ports=("79-81",)))
    assert exposed is not None
    assert exposed[0].exposed_ports == ("79/tcp", "80/tcp", "81/tcp")
    with pytest.raises(InvalidInput):
        apply(config, model.Expose(ports=("70000",)))


def test_runs_and_copies_are_told_with_what_they_saw() -> None:
    assert run_text(("/bin/sh", "-c", "x"), [("A", "1")]) == "RUN |1 A=1 /bin/sh -c x # buildkit"
    copy = model.Copy(
        sources=("a",),
        files=(model.InlineFile(path="F", content=""),),
        destination="/x",
        chown="1",
        parents=True,
    )
    assert copy_text(copy) == "COPY --parents --chown=1 a <<F /x # buildkit"


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ("", "a", "/a"),
        ("/x", "a/../b", "/x/b"),
        ("/x", "/y//", "/y"),
        ("/x", "../..", "/"),
        ("", "//a", "/a"),
    ],
)
def test_a_workdir_goes_on_from_the_last(before: str, path: str, after: str) -> None:
    assert workdir(ContainerConfig(working_dir=before), path) == after


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x", "/w/x"), ("x/", "/w/x/"), (".", "/w/"), ("./", "/w/"), ("/", "/"), ("/a/.", "/a/"),
        ("../b", "/b"), ("", "/w/"),
    ],
)  # fmt: skip
def test_a_destination_keeps_the_slash_that_makes_it_a_directory(written: str, meant: str) -> None:
    assert destination(ContainerConfig(working_dir="/w"), written) == meant


@pytest.mark.parametrize(
    ("text", "before", "is_directory", "after"),
    [
        ("755", 0o644, False, 0o755),
        ("0", 0o644, False, 0),
        ("u+x", 0o644, False, 0o744),
        ("+x", 0o644, False, 0o755),
        ("a=r", 0o777, False, 0o444),
        ("go=", 0o777, False, 0o700),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("u-w+x", 0o644, False, 0o544),
        ("g=u", 0o740, False, 0o770),
        ("u+s,+t", 0o755, False, 0o5755),
    ],
)
def test_modes_are_octal_or_symbolic(text: str, before: int, is_directory: bool, after: int) -> None:
    mode = mode_of(text)
    if isinstance(mode, int):
        assert mode == after
    else:
        assert mode is not None
        assert changed_mode(before, mode, is_directory=is_directory) == after


@pytest.mark.parametrize("text", ["8", "77777", "u", "u+q", "x", "u+x,", "u~x"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="chmod"):
        mode_of(text)


def test_a_stage_grows_by_layers_and_lines() -> None:
    state = StageState.on_nothing(Platform.parse("linux/arm64"))
    assert state.own.env[0].startswith("PATH=")
    digest = Digest("sha256:" + "a" * 64)
    layer = Layer(
        diff_id=digest,
        descriptor=Descriptor(media_type="m", digest=digest, size=1),
        snapshot=SnapshotKey("a" * 64),
        created="2024-01-01T00:00:00Z",
    )
    state.told("ENV A=1")
    state.told("RUN x", layer)
    state.told("USER me")
    built = StageState.on_stage(state.built()).built()
    assert [(step.created_by, step.empty_layer) for step in built.config.history] == [
        ("ENV A=1", True), ("RUN x", False), ("USER me", True),
    ]  # fmt: skip
    assert [step.created for step in built.config.history] == ["", layer.created, layer.created]
    assert (built.config.architecture, built.config.diff_ids, state.chain) == ("arm64", (digest,), digest)


def test_keys_depend_on_everything_they_are_told() -> None:
    keys = {
        key_of("run", "a", x=1),
        key_of("copy", "a", x=1),
        key_of("run", "b", x=1),
        key_of("run", "a", x=2),
    }
    assert len(keys) == 4
    assert key_of("run", "a", x=1, y=2) == key_of("run", "a", y=2, x=1)

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime

import pytest

from pycontainer.errors import (
    AuthDenied,
    NotFound,
    PycontainerError,
    RateLimited,
    RegistryError,
    TransferFailed,
)
from pycontainer.registry import NotInRegistry, Retries
from pycontainer.registry.errors import CODES, Unavailable, Unreachable, refusal
from pycontainer.registry.retry import delays, parse_retry_after, with_retries

URL = "https://me:s3cret@r.io/v2/a/manifests/1?sig=s3cret"


def body(code: str, message: str = "what the server says") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {"x": 1}}]}).encode()


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_specification_has_its_error(code: str) -> None:
    error = refusal("push", URL, 400, body(code))
    assert isinstance(error, CODES[code])
    assert error.codes == (code,)
    assert error.status == 400
    assert code in str(error)
    assert "what the server says" in str(error)


def test_there_are_fourteen_codes() -> None:
    assert len(CODES) == 14


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthDenied),
        (403, AuthDenied),
        (404, NotInRegistry),
        (404, NotFound),
        (410, NotFound),
        (408, TransferFailed),
        (429, RateLimited),
        (500, Unavailable),
        (503, TransferFailed),
        (400, RegistryError),
        (302, RegistryError),
    ],
)
def test_the_status_decides_where_it_is_exact(status: int, kind: type[PycontainerError]) -> None:
    assert isinstance(refusal("pull", URL, status, body("UNKNOWN")), kind)


def test_the_wait_that_is_asked_for_is_told() -> None:
    assert "asks to wait 3600 s" in str(refusal("pull", URL, 429, retry_after_s=3600.0))
    assert "asks to wait 5 s" in str(refusal("pull", URL, 503, retry_after_s=5.0))
    assert "wait" not in str(refusal("pull", URL, 429))


def test_a_bad_request_over_plain_http_may_be_one_for_tls() -> None:
    said = b"Client sent an HTTP request to an HTTPS server.\n"
    assert "if it speaks TLS" in str(refusal("pull", "http://127.0.0.1:5000/v2/", 400, said))
    assert "TLS" not in str(refusal("pull", "http://127.0.0.1:5000/v2/", 400, body("NAME_INVALID")))
    assert "TLS" not in str(refusal("pull", "https://reg.example/v2/", 400, said))


def test_errors_show_no_secret_and_survive_pickling() -> None:
    error = refusal("pull", URL, 429, body("TOOMANYREQUESTS"), retry_after_s=7)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, RateLimited)
    assert copy.retry_after_s == 7
    assert (copy.status, copy.codes, str(copy)) == (429, ("TOOMANYREQUESTS",), str(error))
    assert copy.url == "https://r.io/v2/a/manifests/1?sig=..."
    assert "s3cret" not in str(error) + repr(error) + error.url


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"errors": 5}',
        b'{"errors": [5, null, {}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_not_the_specifications_is_no_second_error(content: bytes) -> None:
    assert refusal("pull", URL, 400, content).codes == ()


def test_a_hostile_message_is_cut_and_cleaned() -> None:
    error = refusal("pull", URL, 400, body("DENIED\r\n\x1b[0m", "\x1b]0;evil\x07" + "x" * 5000))
    assert str(error).isprintable()
    assert len(str(error)) < 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        (" 120 ", 120),
        ("0", 0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", 10),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("9" * 30, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_waits_double_up_to_a_cap_with_some_chance() -> None:
    policy = Retries(attempts=6, base_s=1, cap_s=4)
    for wait, longest in zip(delays(policy), [1, 2, 4, 4, 4], strict=True):
        assert longest / 2 <= wait <= longest


class Failing:
    def __init__(self, *errors: RegistryError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


POLICY = Retries(attempts=4, base_s=1, cap_s=1, retry_after_cap_s=60)


def test_a_passing_failure_is_tried_again_after_a_wait() -> None:
    call, waits = Failing(TransferFailed("broke"), Unavailable("busy", retry_after_s=30)), list[float]()
    assert with_retries(call, POLICY, waits.append) == "done"
    assert call.calls == 3
    assert waits[0] <= 1
    assert waits[1] == 30


@pytest.mark.parametrize(
    "error",
    [AuthDenied("no"), NotInRegistry("no"), RegistryError("no"), TransferFailed("no", is_temporary=False)],
)
def test_a_failure_that_stays_is_not_tried_again(error: RegistryError) -> None:
    call = Failing(error)
    with pytest.raises(type(error)):
        with_retries(call, POLICY, lambda _: None)
    assert call.calls == 1


def test_attempts_are_bounded_and_fewer_where_nobody_listens() -> None:
    for kind, calls in [(TransferFailed, 4), (Unreachable, 2)]:
        call = Failing(*[kind("broke") for _ in range(10)])
        with pytest.raises(kind):
            with_retries(call, POLICY, lambda _: None)
        assert call.calls == calls


def test_a_server_that_wants_too_long_a_wait_is_not_waited_for() -> None:
    call, waits = Failing(RateLimited("later", retry_after_s=3600)), list[float]()
    with pytest.raises(RateLimited) as caught:
        with_retries(call, POLICY, waits.append)
    assert caught.value.retry_after_s == 3600
    assert waits == []

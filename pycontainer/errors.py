"""The public error tree. Catch by what you can do about it; the subject is in the attributes.

PycontainerError
├ NotFound(LookupError)               no such image, container, program, blob
├ Conflict
│ ├ AlreadyExists                     the name is taken
│ ├ InUse                             something still needs it
│ └ WrongState                        the verb does not fit the object's state
├ InvalidInput(ValueError)
│ ├ BadReference                      an image name that does not follow the grammar
│ ├ InvalidOption                     a container option with a value it cannot have
│ ├ InvalidImage                      a manifest, config, layer or archive that breaks its specification
│ ├ DockerfileError                   a Dockerfile that cannot be built; carries file, line and text
│ └ ComposeFileError                  a compose file that cannot be used; carries file, line and path
├ Unsupported                         this host cannot; carries the remedy
├ KernelError(OSError)                a system call failed; carries call, path and errno
├ IntegrityError
│ ├ DigestMismatch                    bytes that are not what their digest or size says
│ └ UntrustedImage                    no signature that is asked for; carries reference, digest and reasons
├ RegistryError
│ ├ AuthDenied                        no credentials, or not these
│ ├ RateLimited                       asked to wait; carries retry_after_s
│ └ TransferFailed                    broken connection, server error; carries is_temporary
├ LaunchError                         the container's first process could not be started
├ HelperDied                          the helper process was killed in the middle of a request; ask again
├ BuildError                          a step of a build failed; carries its place, exit code and log tail
├ ContainerFailed                     it started, and its exit code was not zero
├ TaskFailed                          what a function in a container raised has no class here; carries kind
├ WorkerDied                          what ran a function in a container has ended; carries exit_code
├ NotReady                            it will not come to what was waited for
│ └ ReadinessTimeout                  it did not in the time given; also a DeadlineExceeded
└ DeadlineExceeded(TimeoutError)      the time given was not enough

Messages are lower case, name the value, and end with the remedy where there is one.
Every error can be pickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "AlreadyExists",
    "AuthDenied",
    "BadReference",
    "BuildError",
    "ComposeFileError",
    "Conflict",
    "ContainerFailed",
    "DeadlineExceeded",
    "DigestMismatch",
    "DockerfileError",
    "HelperDied",
    "InUse",
    "IntegrityError",
    "InvalidImage",
    "InvalidInput",
    "InvalidOption",
    "KernelError",
    "LaunchError",
    "NotFound",
    "NotReady",
    "PycontainerError",
    "RateLimited",
    "ReadinessTimeout",
    "RegistryError",
    "TaskFailed",
    "TransferFailed",
    "Unsupported",
    "UntrustedImage",
    "WorkerDied",
    "WrongState",
]


class PycontainerError(Exception):
    """Base of every error this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only constructors defeat the default pickling by positional args.
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(kind: type[PycontainerError], args: tuple[Any, ...], state: dict[str, Any]) -> PycontainerError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class NotFound(PycontainerError, LookupError):
    """What was named does not exist here."""


class Conflict(PycontainerError):
    """The request is sound, but not beside what already exists."""


class AlreadyExists(Conflict):
    """The name or address is taken."""


class InUse(Conflict):
    """Something still needs the object; remove that first."""


class WrongState(Conflict):
    """The verb does not fit the state the object is in.

    Attributes: verb, state, allowed (the states in which the verb works).
    """

    def __init__(
        self, message: str, *, verb: str = "", state: str = "", allowed: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.verb = verb
        self.state = state
        self.allowed = allowed


class InvalidInput(PycontainerError, ValueError):
    """A value from the caller, an image or a registry that cannot be accepted."""


class BadReference(InvalidInput):
    """An image reference outside the grammar."""


class InvalidOption(InvalidInput):
    """A container option whose value is out of range or of the wrong form."""


class InvalidImage(InvalidInput):
    """A manifest, configuration, layer or archive that breaks its specification."""


class DockerfileError(InvalidInput):
    """A Dockerfile that cannot be understood or built. The message ends with the lines around the place.

    Attributes: problem (what is wrong, in one line), file, line and last_line (counted from 1; 0 where
    the file as a whole is meant), text (of those lines, as written), expected (what would be accepted,
    or ""), suggestion (the word that was probably meant, or ""), excerpt (numbered lines with the
    place marked, or ""), warnings (a `BuildWarning` for all that build
    checks had found until then).
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "Dockerfile",
        line: int = 0,
        last_line: int = 0,
        text: str = "",
        expected: str = "",
        suggestion: str = "",
        excerpt: str = "",
    ) -> None:
        super().__init__(problem)
        self.warnings: tuple[Any, ...] = ()
        self.problem = problem
        self.file = file
        self.line = line
        self.last_line: int = last_line or line
        self.text = text
        self.expected = expected
        self.suggestion = suggestion
        self.excerpt = excerpt

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        message = f"{place}: {self.problem}"
        if self.expected:
            message += f"; expected {self.expected}"
        if self.suggestion:
            message += f" (did you mean {self.suggestion}?)"
        return f"{message}\n{self.excerpt}" if self.excerpt else message


class ComposeFileError(InvalidInput):
    """A compose file, or a file that it names, that cannot be used.

    Attributes: problem (what is wrong, in one line), file, line (counted from 1; 0 where the file as a whole
    is meant), path (of the value, as "services.web.ports[0]"; "" likewise).
    """

    def __init__(self, problem: str, *, file: str = "", line: int = 0, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.line = line
        self.path = path

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.problem) if part)


class Unsupported(PycontainerError):
    """This host, kernel or registry cannot do it.

    Attributes: feature (what is missing), remedy (what to do about it).
    """

    def __init__(self, feature: str, remedy: str = "") -> None:
        super().__init__(feature, remedy)
        self.feature = feature
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.feature}; {self.remedy}" if self.remedy else self.feature


class KernelError(PycontainerError, OSError):
    """A system call failed.

    Attributes: call (its name), path (what it was about, or ""), errno.
    """

    def __init__(self, errno: int, call: str, path: str = "", hint: str = "") -> None:
        message = f"{call}{f'({path})' if path else ''}: {os.strerror(errno)}"
        super().__init__(errno, f"{message}; {hint}" if hint else message)
        self.errno: int = errno
        self.call = call
        self.path = path
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps errno in C, where the instance dictionary does not see it.
        return (type(self), (self.errno, self.call, self.path, self.hint))

    def __str__(self) -> str:
        return str(self.args[1])


class IntegrityError(PycontainerError):
    """Stored or received bytes are not what they claim to be."""


class DigestMismatch(IntegrityError):
    """A digest or a size differs.

    Attributes: expected, actual, source (where the bytes came from).
    """

    def __init__(self, expected: str, actual: str, source: str) -> None:
        super().__init__(expected, actual, source)
        self.expected = expected
        self.actual = actual
        self.source = source

    def __str__(self) -> str:
        return f"{self.source}: expected {self.expected}, got {self.actual}"


class UntrustedImage(IntegrityError):
    """An image that the policy does not accept, or that lacks the signature asked for.

    Attributes: reference, digest, reasons (what is wrong with each signature there is).
    """

    def __init__(
        self, message: str, *, reference: str = "", digest: str = "", reasons: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.reference = reference
        self.digest = digest
        self.reasons = reasons


class RegistryError(PycontainerError):
    """A registry refused or failed.

    Attributes: status (HTTP status or 0), codes (the specification's error codes), url (redacted).
    """

    def __init__(self, message: str, *, status: int = 0, codes: tuple[str, ...] = (), url: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.codes = codes
        self.url = url


class AuthDenied(RegistryError):
    """The registry wants credentials that were not given, or refuses the ones that were."""


class RateLimited(RegistryError):
    """Too many requests, even after waiting as told.

    Attributes: retry_after_s (seconds the registry asked for, or None).
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class TransferFailed(RegistryError):
    """A transfer broke off.

    Attributes: is_temporary (whether trying again later can help).
    """

    def __init__(self, message: str, *, is_temporary: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.is_temporary = is_temporary


class LaunchError(PycontainerError):
    """The container's first process could not be started.

    Attributes: step (the launch step that failed), reason (what the kernel or the check said),
    exit_code (Docker's: 125 set-up failed, 126 not executable, 127 no such program).
    """

    def __init__(self, message: str, *, step: str = "", reason: str = "", exit_code: int = 125) -> None:
        super().__init__(message)
        self.step = step
        self.reason = reason
        self.exit_code = exit_code


class HelperDied(PycontainerError):
    """The helper process, or its child doing this job, was killed before it answered.

    Asking again starts another one. Attributes: job.
    """

    def __init__(self, message: str, *, job: str = "") -> None:
        super().__init__(message)
        self.job = job


class BuildError(PycontainerError):
    """A step of a build failed; what came before it stays in the cache.

    Attributes: file, line, last_line (of the instruction), stage, step (the instruction on one line),
    exit_code (of a RUN's program, None if none ran), log_tail (the end of what it wrote). The cause says what
    went wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "Dockerfile",
        line: int = 0,
        last_line: int = 0,
        stage: str = "",
        step: str = "",
        exit_code: int | None = None,
        log_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.file = file
        self.line = line
        self.last_line: int = last_line or line
        self.stage = stage
        self.step = step
        self.exit_code = exit_code
        self.log_tail = log_tail

    def __str__(self) -> str:
        shown = super().__str__()
        return f"{shown}\n{self.log_tail.rstrip()}" if self.log_tail.strip() else shown


class ContainerFailed(PycontainerError):
    """The container ran and ended with a code other than zero.

    Attributes: exit_code, stdout, stderr (bytes).
    """

    def __init__(self, message: str, *, exit_code: int, stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class TaskFailed(PycontainerError):
    """A function that ran in a container failed in a way that cannot be raised here as itself.

    Attributes: kind (the name of the exception's class there, or ""), traceback (its text).
    """

    def __init__(self, message: str, *, kind: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.traceback = traceback


class WorkerDied(PycontainerError):
    """What ran a function in a container has ended without an answer. Another one takes its place.

    Attributes: exit_code (None if none is known), oom_killed (whether the kernel killed it for want of
    memory), log_tail (the end of what it printed).
    """

    def __init__(
        self, message: str, *, exit_code: int | None = None, oom_killed: bool = False, log_tail: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.oom_killed = oom_killed
        self.log_tail = log_tail


class DeadlineExceeded(PycontainerError, TimeoutError):
    """The time given was not enough. Attributes: timeout_s."""

    def __init__(self, message: str, *, timeout_s: float | None = None) -> None:
        super().__init__(message)
        self.timeout_s = timeout_s


class NotReady(PycontainerError):
    """A container will not come to what was waited for: its run has ended, or a condition cannot be met.

    Attributes: strategy (what was waited for, in words), missing (what of it was not met), state,
    exit_code, oom_killed, elapsed_s, log_tail (the last lines of its output).
    """

    def __init__(
        self,
        message: str,
        *,
        strategy: str = "",
        missing: tuple[str, ...] = (),
        state: str = "",
        exit_code: int | None = None,
        oom_killed: bool = False,
        elapsed_s: float = 0.0,
        log_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.strategy = strategy
        self.missing = missing
        self.state = state
        self.exit_code = exit_code
        self.oom_killed = oom_killed
        self.elapsed_s = elapsed_s
        self.log_tail = log_tail


class ReadinessTimeout(NotReady, DeadlineExceeded):
    """A container did not come to what was waited for in the time given. Attributes: also timeout_s."""

    def __init__(self, message: str, *, timeout_s: float | None = None, **details: Any) -> None:
        NotReady.__init__(self, message, **details)
        self.timeout_s = timeout_s


def launch_failed(step: str, about: str) -> Callable[[BaseException], LaunchError]:
    """For `mapped`: an OSError as the LaunchError of a step, "ABOUT: why"."""

    def made(error: BaseException) -> LaunchError:
        why = error.strerror if isinstance(error, OSError) else error
        return LaunchError(f"{about}: {why}", step=step, reason=str(error))

    return made


@contextmanager
def mapped(*sources: type[BaseException], to: Callable[[BaseException], PycontainerError]) -> Iterator[None]:
    """Turn the given exceptions into one of ours, keeping the cause."""
    try:
        yield
    except sources as error:
        raise to(error) from error

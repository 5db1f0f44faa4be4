"""The rules of BuildKit's build checks, as data.

Source: docs.docker.com/reference/build-checks; moby/buildkit, frontend/dockerfile/linter/ruleset.go.
"""

from __future__ import annotations

import re

from attrs import frozen

from pycontainer.build.dockerfile.model import BuildWarning, Lines

__all__ = ["RULES", "Rule", "warning"]

_URL = "https://docs.docker.com/go/dockerfile/rule/{}/"
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]*")


@frozen(kw_only=True)
class Rule:
    """Attributes: name, description, message (a template), is_experimental (off unless asked for)."""

    name: str
    description: str
    message: str
    is_experimental: bool = False

    @property
    def url(self) -> str:
        """Where the rule is explained."""
        return _URL.format("-".join(word.lower() for word in _WORD.findall(self.name)))


_ALL = (
    Rule(
        name="StageNameCasing",
        description="Stage names should be lowercase",
        message="Stage name '{}' should be lowercase",
    ),
    Rule(
        name="FromAsCasing",
        description="The 'as' keyword should match the case of the 'from' keyword",
        message="'{}' and '{}' keywords' casing do not match",
    ),
    Rule(
        name="NoEmptyContinuation",
        description="Empty continuation lines will become errors in a future release",
        message="Empty continuation line",
    ),
    Rule(
        name="ConsistentInstructionCasing",
        description="All commands within the Dockerfile should use the same casing (either upper or lower)",
        message="Command '{}' should match the case of the command majority ({})",
    ),
    Rule(
        name="DuplicateStageName",
        description="Stage names should be unique",
        message='Duplicate stage name "{}", stage names should be unique',
    ),
    Rule(
        name="ReservedStageName",
        description="Reserved words should not be used as stage names",
        message='Stage name should not use the same name as reserved stage "{}"',
    ),
    Rule(
        name="JSONArgsRecommended",
        description="JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior "
        "related to OS signals",
        message="JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
    ),
    Rule(
        name="MaintainerDeprecated",
        description="The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        message="Maintainer instruction is deprecated in favor of using label",
    ),
    Rule(
        name="UndefinedArgInFrom",
        description="FROM command must use declared ARGs",
        message="FROM argument '{}' is not declared{}",
    ),
    Rule(
        name="WorkdirRelativePath",
        description="Relative workdir without an absolute workdir declared within the build can have "
        "unexpected results if the base image changes",
        message='Relative workdir "{}" can have unexpected results if the base image changes',
    ),
    Rule(
        name="UndefinedVar",
        description="Variables should be defined before their use",
        message="Usage of undefined variable '${}'{}",
    ),
    Rule(
        name="MultipleInstructionsDisallowed",
        description="Multiple instructions of the same type should not be used in the same stage",
        message="Multiple {} instructions should not be used in the same stage because only the last one "
        "will be used",
    ),
    Rule(
        name="LegacyKeyValueFormat",
        description="Legacy key/value format with whitespace separator should not be used",
        message='"{0} key=value" should be used instead of legacy "{0} key value" format',
    ),
    Rule(
        name="InvalidBaseImagePlatform",
        description="Base image platform does not match expected target platform",
        message='Base image {} was pulled with platform "{}", expected "{}" for current build',
    ),
    Rule(
        name="RedundantTargetPlatform",
        description="Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the "
        "default behavior",
        message="Setting platform to predefined {} in FROM is redundant as this is the default behavior",
    ),
    Rule(
        name="SecretsUsedInArgOrEnv",
        description="Sensitive data should not be used in the ARG or ENV commands",
        message='Do not use ARG or ENV instructions for sensitive data ({} "{}")',
    ),
    Rule(
        name="InvalidDefaultArgInFrom",
        description="Default value for global ARG results in an empty or invalid base image name",
        message="Default value for ARG {} results in empty or invalid base image name",
    ),
    Rule(
        name="FromPlatformFlagConstDisallowed",
        description="FROM --platform flag should not use a constant value",
        message='FROM --platform flag should not use constant value "{}"',
    ),
    Rule(
        name="CopyIgnoredFile",
        description="Attempting to Copy file that is excluded by .dockerignore",
        message='Attempting to {} file "{}" that is excluded by .dockerignore',
        is_experimental=True,
    ),
    Rule(
        name="InvalidDefinitionDescription",
        description="Comment for build stage or argument should follow the format: `# <arg/stage name> "
        "<description>`. If this is not intended to be a description comment, add an empty line or comment "
        "between the instruction and the comment.",
        message="Comment for {} should follow the format: `# {} <description>`",
        is_experimental=True,
    ),
    Rule(
        name="ExposeProtoCasing",
        description="Protocol in EXPOSE instruction should be lowercase",
        message="Defined protocol '{}' in EXPOSE instruction should be lowercase",
    ),
    Rule(
        name="ExposeInvalidFormat",
        description="IP address and host-port mapping should not be used in EXPOSE instruction. This will "
        "become an error in a future release",
        message="EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
    ),
)
RULES = {rule.name: rule for rule in _ALL}


def warning(name: str, lines: Lines, *words: str) -> BuildWarning:
    """A finding of a rule. Args: words, for the message."""
    rule = RULES[name]
    return BuildWarning(
        rule=name,
        message=rule.message.format(*words),
        description=rule.description,
        url=rule.url,
        lines=lines,
        is_experimental=rule.is_experimental,
    )

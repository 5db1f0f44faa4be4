"""Docker's `--format` templates: the part of Go's text/template that they are made of.

Theory of operation. A template is cut into text and actions (`{{...}}`); actions are read into a tree, which
is then rendered over data: mappings (JSON documents, rows of a list), lists, text, numbers. Known are fields
and chains of them, variables, pipelines and parentheses, literals, comments, trimming dashes, `if`, `with`,
`range` with their `else`, `break` and `continue`, and the functions of Go and of Docker.
Sources: pkg.go.dev/text/template; docker/cli, templates/templates.go; docs.docker.com/go/formatting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pycontainer.cli.formatting.functions import FUNCTIONS, TemplateError, is_true, shown

__all__ = ["Template", "TemplateError"]

_ACTION = re.compile(r"\{\{(?P<left>-(?=\s))?")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<number>[+-]?\d+(?:\.\d+)?)
      | (?P<variable>\$\w*)
      | (?P<field>\.[A-Za-z_]\w*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>:=|[.()|,=])""",
    re.VERBOSE,
)
_END = re.compile(r"(?P<right>\s+-)?\s*\}\}")
_COMMENT = re.compile(r"\s*/\*.*?\*/", re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "nil": None}
_MAX_DEPTH = 100
_OF_VALUES = ("join", "json", "lower", "pad", "split", "title", "truncate", "upper")
"""Functions that leave a column's header as it is (docker/cli, templates.HeaderFunctions)."""


class _Token(NamedTuple):
    kind: str
    text: str
    is_joined: bool
    """Whether it stands right after the one before."""


Expression: TypeAlias = Callable[["_Scope"], Any]
Node: TypeAlias = Callable[["_Scope"], Iterator[str]]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Scope:
    """What dot and the variables are at one place."""

    def __init__(self, dot: Any, variables: dict[str, Any], *, is_header: bool) -> None:
        self.dot = dot
        self.variables = variables
        self.is_header = is_header

    def within(self, dot: Any, **variables: Any) -> _Scope:
        return _Scope(dot, {**self.variables, **variables}, is_header=self.is_header)


class Template:
    """A template, read. Raises: TemplateError for one that is none."""

    def __init__(self, text: str) -> None:
        parser = _Parser(list(_pieces(text)))
        self._nodes = parser.nodes(())

    def render(self, data: Any, *, is_header: bool = False) -> str:
        """The text for this data.

        is_header: data are the headers of a table: functions leave their values alone. Raises: TemplateError
        for a field that is not there.
        """
        try:
            return "".join(_rendered(self._nodes, _Scope(data, {"$": data}, is_header=is_header)))
        except (_Break, _Continue):
            raise TemplateError("template: {{break}} or {{continue}} outside of {{range}}") from None


def _rendered(nodes: Sequence[Node], scope: _Scope) -> Iterator[str]:
    for node in nodes:
        yield from node(scope)


# -- reading --------------------------------------------------------------------------------------


def _pieces(text: str) -> Iterator[str | list[_Token]]:
    """Text, and the tokens of actions, in turn."""
    position = 0
    trims = False
    while True:
        match = _ACTION.search(text, position)
        plain = text[position : match.start() if match else len(text)]
        if trims:
            plain = plain.lstrip()
        if match is None:
            yield plain
            return
        yield plain.rstrip() if match["left"] else plain
        tokens, position, trims = _tokens(text, match.end())
        if tokens is not None:
            yield tokens


def _tokens(text: str, position: int) -> tuple[list[_Token] | None, int, bool]:
    """The tokens of an action, where it ends, and whether space after it is cut off; None of a comment."""
    start = position
    comment = _COMMENT.match(text, position)
    found: list[_Token] = []
    is_joined = False
    if comment is not None:
        position = comment.end()
    while (end := _END.match(text, position)) is None:
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position : position + 10] or "the end"
            raise TemplateError(f"template: cannot read {rest!r} in {{{{{text[start : start + 40]}")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(_Token(kind, match[0], is_joined))
        is_joined = kind != "space"
        position = match.end()
    return (None if comment else found), end.end(), end["right"] is not None


class _Parser:
    """From pieces to nodes."""

    def __init__(self, pieces: list[str | list[_Token]]) -> None:
        self._pieces = pieces
        self._next = 0
        self._tokens: list[_Token] = []
        self._at = 0
        self._depth = 0

    def nodes(self, ends: tuple[str, ...]) -> list[Node]:
        """The nodes up to one of these words, whose action is the current one then."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateError(f"template: blocks are nested more than {_MAX_DEPTH} deep")
        made: list[Node] = []
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            self._next += 1
            if isinstance(piece, str):
                made.append(_text(piece))
                continue
            self._tokens, self._at = piece, 0
            word = piece[0].text if piece and piece[0].kind == "word" else ""
            if word in ends:
                self._depth -= 1
                return made
            made.append(self._block(word))
        if ends:
            raise TemplateError("template: a block has no {{end}}")
        return made

    def _block(self, word: str) -> Node:
        if word in ("if", "with", "range"):
            self._at = 1
            return {"if": self._if, "with": self._with, "range": self._range}[word]()
        if word in ("break", "continue") and len(self._tokens) == 1:
            return _jump(_Break if word == "break" else _Continue)
        if word in ("end", "else", "define", "block", "template"):
            raise TemplateError(f"template: unexpected {{{{{word}}}}}")
        return self._print()

    def _print(self) -> Node:
        name, value = self._declared()
        self._finish()

        def node(scope: _Scope) -> Iterator[str]:
            found = value(scope)
            if name:
                scope.variables[name] = found
            else:
                yield shown(found)

        return node

    def _declared(self) -> tuple[str, Expression]:
        tokens = self._tokens[self._at : self._at + 2]
        if len(tokens) == 2 and tokens[0].kind == "variable" and tokens[1].text in (":=", "="):
            self._at += 2
            return tokens[0].text, self._pipeline()
        return "", self._pipeline()

    def _branches(self) -> tuple[list[Node], list[Node]]:
        self._finish()
        then = self.nodes(("else", "end"))
        if self._tokens[0].text == "end":
            return then, []
        if len(self._tokens) > 1 and self._tokens[1].text in ("if", "with"):
            self._at = 2
            return then, [self._if() if self._tokens[1].text == "if" else self._with()]
        return then, self.nodes(("end",))

    def _if(self) -> Node:
        name, condition = self._declared()
        then, otherwise = self._branches()

        def node(scope: _Scope) -> Iterator[str]:
            found = condition(scope)
            inner = scope.within(scope.dot, **({name: found} if name else {}))
            return _rendered(then if is_true(found) else otherwise, inner)

        return node

    def _with(self) -> Node:
        name, condition = self._declared()
        then, otherwise = self._branches()

        def node(scope: _Scope) -> Iterator[str]:
            found = condition(scope)
            if is_true(found):
                return _rendered(then, scope.within(found, **({name: found} if name else {})))
            return _rendered(otherwise, scope)

        return node

    def _range(self) -> Node:
        names: list[str] = []
        ahead = self._tokens[self._at : self._at + 4]
        if len(ahead) == 4 and [ahead[1].text, ahead[3].text] == [",", ":="]:
            names = [ahead[0].text, ahead[2].text]
            self._at += 4
        elif len(ahead) > 1 and ahead[1].text == ":=":
            names = ["", ahead[0].text]
            self._at += 2
        value = self._pipeline()
        then, otherwise = self._branches()

        def node(scope: _Scope) -> Iterator[str]:
            pairs = list(_ranged(value(scope)))
            if not pairs:
                yield from _rendered(otherwise, scope)
            for pair in pairs:
                made = {name: item for name, item in zip(names, pair, strict=False) if name}
                try:
                    yield from _rendered(then, scope.within(pair[1], **made))
                except _Continue:
                    continue
                except _Break:
                    return

        return node

    def _finish(self) -> None:
        if self._at < len(self._tokens):
            raise TemplateError(f"template: unexpected {self._tokens[self._at].text!r}")

    # -- expressions

    def _pipeline(self) -> Expression:
        value = self._command(None)
        while self._peek() == "|":
            self._at += 1
            value = self._command(value)
        return value

    def _command(self, piped: Expression | None) -> Expression:
        token = self._token()
        function = ""
        if token is not None and token.kind == "word" and token.text not in _CONSTANTS:
            if token.text not in FUNCTIONS:
                raise TemplateError(f'template: function "{token.text}" not defined')
            function = token.text
            self._at += 1
        operands: list[Expression] = []
        while (token := self._token()) is not None and token.text not in ("|", ")", ",", ":=", "="):
            operands.append(self._operand())
        if piped is not None:
            operands.append(piped)
        if function:
            return _called(function, operands)
        if not operands:
            raise TemplateError("template: missing value for command")
        first, *rest = operands
        return _method(first, rest) if rest else first

    def _operand(self) -> Expression:
        """A term with the fields that follow it without a space."""
        value = self._term()
        while (token := self._token()) is not None and token.kind == "field" and token.is_joined:
            self._at += 1
            value = _field(value, token.text[1:])
        return value

    def _term(self) -> Expression:
        token = self._token()
        assert token is not None
        self._at += 1
        if token.kind == "string":
            return _constant(_unquoted(token.text))
        if token.kind == "raw":
            return _constant(token.text[1:-1])
        if token.kind == "number":
            return _constant(float(token.text) if "." in token.text else int(token.text))
        if token.kind == "variable":
            return _variable(token.text)
        if token.kind == "field":
            return _field(lambda scope: scope.dot, token.text[1:])
        if token.kind == "word" and token.text in _CONSTANTS:
            return _constant(_CONSTANTS[token.text])
        if token.kind == "word" and token.text in FUNCTIONS:
            return _called(token.text, [])
        if token.text == ".":
            return lambda scope: scope.dot
        if token.text == "(":
            value = self._pipeline()
            if self._peek() != ")":
                raise TemplateError("template: unclosed left paren")
            self._at += 1
            return value
        raise TemplateError(f"template: unexpected {token.text!r}")

    def _token(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _peek(self) -> str:
        token = self._token()
        return token.text if token is not None else ""


def _unquoted(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        raise TemplateError(f"template: cannot read the string {text}") from None
    return str(value)


# -- rendering ------------------------------------------------------------------------------------


def _text(text: str) -> Node:
    return lambda scope: iter((text,))


def _jump(kind: type[Exception]) -> Node:
    def node(scope: _Scope) -> Iterator[str]:
        raise kind

    return node


def _constant(value: Any) -> Expression:
    return lambda scope: value


def _variable(name: str) -> Expression:
    def read(scope: _Scope) -> Any:
        if name not in scope.variables:
            raise TemplateError(f'template: undefined variable "{name}"')
        return scope.variables[name]

    return read


def _field(value: Expression, name: str) -> Expression:
    return lambda scope: _get(value(scope), name)


def _get(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        # Names of fields begin with a capital; others are keys of a map, of which none is missing in Go.
        if name[:1].islower():
            return None
        raise TemplateError(f'template: map has no entry for key "{name}"')
    if value is None:
        raise TemplateError(f"template: nil has no field {name}")
    raise TemplateError(f"template: can't evaluate field {name} in {shown(value)!r}")


def _method(first: Expression, rest: list[Expression]) -> Expression:
    def call(scope: _Scope) -> Any:
        found = first(scope)
        if not callable(found):
            raise TemplateError(f"template: can't give argument to non-function {shown(found)!r}")
        return found(*(each(scope) for each in rest))

    return call


def _called(name: str, operands: list[Expression]) -> Expression:
    function, is_lazy = FUNCTIONS[name]

    def call(scope: _Scope) -> Any:
        if scope.is_header and name in _OF_VALUES and operands:
            return operands[0](scope)
        if is_lazy:
            return function(*((lambda each=each: each(scope)) for each in operands))
        try:
            return function(*(each(scope) for each in operands))
        except (TypeError, ValueError, IndexError) as problem:
            raise TemplateError(f"template: error calling {name}: {problem}") from None

    return call


def _ranged(value: Any) -> Iterator[tuple[Any, Any]]:
    if value is None:
        return iter(())
    if isinstance(value, Mapping):
        return iter([(key, value[key]) for key in sorted(value)])
    if isinstance(value, list | tuple):
        return iter(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return iter([(number, number) for number in range(value)])
    raise TemplateError(f"template: range can't iterate over {shown(value)}")

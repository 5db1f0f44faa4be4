"""The states of a container and the verbs that fit them: the one table that every caller asks."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pycontainer.errors import WrongState


class State(StrEnum):
    """Docker's seven states."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


_C, _R, _P, _RS, _RM, _E, _D = State

# verb -> {state it works in: state it leads to}
_TRANSITIONS: Mapping[str, Mapping[State, State]] = {
    "start": {_C: _R, _E: _R, _RS: _R},
    "stop": {_R: _E, _P: _E, _RS: _E},
    "restart": {_C: _R, _R: _R, _P: _R, _RS: _R, _E: _R},
    "kill": {_R: _R, _P: _P},
    "pause": {_R: _P},
    "unpause": {_P: _R},
    "exec": {_R: _R},
    "exit": {_R: _E, _P: _E},
    "await restart": {_R: _RS, _E: _RS},
    "remove": {_C: _RM, _E: _RM, _D: _RM, _RM: _RM},
    "force remove": dict.fromkeys(State, _RM),
    "fail to remove": {_RM: _D},
    "rename": {state: state for state in State if state not in (_RM, _D)},
    "update": {state: state for state in State if state not in (_RM, _D)},
    "commit": {state: state for state in State if state not in (_RM, _D)},
}

_REMEDIES: Mapping[tuple[str, State], str] = {
    ("start", _R): "it runs already",
    ("start", _P): "unpause it",
    ("stop", _E): "it has ended already",
    ("kill", _E): "it has ended already",
    ("exec", _C): "start it first",
    ("exec", _E): "start it first",
    ("exec", _P): "unpause it first",
    ("pause", _P): "it is paused already",
    ("unpause", _R): "it is not paused",
    ("remove", _R): "stop it first, or remove it with force",
    ("remove", _P): "stop it first, or remove it with force",
    ("remove", _RS): "stop it first, or remove it with force",
}


def after(verb: str, state: str) -> State:
    """The state a verb leads to from a state.

    Raises: WrongState when the verb does not fit, with the states in which it does.
    """
    found = _TRANSITIONS[verb].get(State(state))
    if found is not None:
        return found
    allowed = tuple(str(known) for known in _TRANSITIONS[verb])
    remedy = _REMEDIES.get((verb, State(state)), f"it can be done when {' or '.join(allowed)}")
    raise WrongState(
        f"cannot {verb} a container that is {state}; {remedy}", verb=verb, state=state, allowed=allowed
    )


def is_allowed(verb: str, state: str) -> bool:
    """Whether the verb fits the state."""
    return State(state) in _TRANSITIONS[verb]


VERBS = tuple(_TRANSITIONS)


def table() -> str:
    """The whole table in Markdown: a row for each verb, a column for each state, where it leads to."""
    head = ["| | " + " | ".join(State) + " |", "| --- |" + " --- |" * len(State)]
    rows = []
    for verb, leads in _TRANSITIONS.items():
        cells = (
            ("·" if leads[state] is state else str(leads[state])) if state in leads else "" for state in State
        )
        rows.append(f"| {verb} | " + " | ".join(cells) + " |")
    return "\n".join([*head, *rows]) + "\n"

"""Which verbs fit which states."""

from __future__ import annotations

import pytest

from pycontainer.errors import WrongState
from pycontainer.runtime import lifecycle
from pycontainer.runtime.lifecycle import State, after, is_allowed
from tests.support.source import ROOT

# One row per state: what can be done to it.
ALLOWED = {
    "created": "start restart remove rename update commit",
    "running": "stop restart kill pause exec exit rename update commit",
    "paused": "stop restart kill unpause exit rename update commit",
    "restarting": "start stop restart rename update commit",
    "removing": "remove",
    "exited": "start restart remove rename update commit",
    "dead": "remove",
}
VERBS = "start stop restart kill pause unpause exec exit remove rename update commit".split()


@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_fits_the_states_it_should(verb: str, state: str) -> None:
    fits = verb in ALLOWED[state].split()
    assert is_allowed(verb, state) is fits
    if fits:
        assert after(verb, state) in State
        return
    with pytest.raises(WrongState) as caught:
        after(verb, state)
    assert (caught.value.verb, caught.value.state) == (verb, state)
    assert state not in caught.value.allowed
    assert f"cannot {verb} a container that is {state}; " in str(caught.value)


def test_force_removes_from_every_state() -> None:
    assert {after("force remove", state) for state in State} == {State.REMOVING}


def test_a_failed_removal_leaves_a_dead_container() -> None:
    assert after("fail to remove", "removing") == "dead"


def test_every_state_but_the_first_can_be_reached() -> None:
    reached = {after(verb, state) for verb in lifecycle.VERBS for state in State if is_allowed(verb, state)}
    assert reached == set(State)


# Where each verb leads, whatever the state it starts from; those not named here leave the state as it is.
LEADS = {
    "start": {"running"},
    "restart": {"running"},
    "stop": {"exited"},
    "exit": {"exited"},
    "pause": {"paused"},
    "unpause": {"running"},
    "await restart": {"restarting"},
    "remove": {"removing"},
    "force remove": {"removing"},
    "fail to remove": {"dead"},
}


@pytest.mark.parametrize("verb", lifecycle.VERBS)
def test_a_verb_leads_where_it_should(verb: str) -> None:
    found = {state: after(verb, state) for state in State if is_allowed(verb, state)}
    assert found
    for state, led in found.items():
        assert str(led) in LEADS.get(verb, {str(state)})


@pytest.mark.parametrize("verb", lifecycle.VERBS)
@pytest.mark.parametrize("state", State)
def test_every_pair_is_answered_by_a_state_or_by_a_remedy(verb: str, state: State) -> None:
    if is_allowed(verb, state):
        assert after(verb, state) in State
        return
    with pytest.raises(WrongState, match=f"cannot {verb} a container that is {state}; ..") as caught:
        after(verb, state)
    assert all(is_allowed(verb, allowed) for allowed in caught.value.allowed)


def test_the_guide_shows_the_table() -> None:
    assert lifecycle.table() in (ROOT / "docs/guides/lifecycle.md").read_text()

"""Why an actor is gone, from made-up tables of actors as Ray writes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dispatch import deaths
from orchestrator.dispatch.deaths import Death, GangLost, death_of

ACTOR = SimpleNamespace(_ray_actor_id=bytes.fromhex("ab") * 4)


class Preempted(RuntimeError):
    """As Ray's ActorDiedError says it."""

    preempted = True


def table(*states: dict[str, Any]) -> Any:
    """Ray's answers one after the other; the last one stays."""
    answers = list(states)

    def answer(actor: str) -> dict[str, Any]:
        assert actor == "abababab"
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return answer


def dead(cause: str) -> dict[str, Any]:
    return {"State": "DEAD", "DeathCause": cause, "Address": {"NodeID": "n1"}}


@pytest.mark.parametrize(
    ("cause", "error", "expected"),
    [
        (
            "actor_died_error_context { error_message: 'signal 9' }",
            None,
            Death("lost", False, "n1"),
        ),
        ("actor_died_error_context { node_death_info { reason: 3 } }", None, Death("lost", True, "n1")),
        ("owner died: NODE_DIED", None, Death("lost", True, "n1")),
        ("oom_context { error_message: 'killed' }", None, Death("out of memory", False, "n1")),
        ("actor_died_error_context {}", Preempted(), Death("lost", True, "n1")),
    ],
)
def test_causes(
    monkeypatch: pytest.MonkeyPatch, cause: str, error: BaseException | None, expected: Death
) -> None:
    monkeypatch.setattr("ray._private.state.actors", table(dead(cause)))
    assert death_of(ACTOR, error) == expected


def test_a_table_that_learns_of_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = {"State": "ALIVE", "DeathCause": None, "Address": {"NodeID": "n1"}}
    monkeypatch.setattr("ray._private.state.actors", table(alive, alive, dead("node_death_info {}")))
    assert death_of(ACTOR) == Death("lost", True, "n1")


def test_one_that_is_never_told_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = {"State": "ALIVE", "DeathCause": None, "Address": {"NodeID": "n1"}}
    monkeypatch.setattr(deaths, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr("ray._private.state.actors", table(alive))
    assert death_of(ACTOR) == Death("lost", False, "n1")


def test_a_trial_that_never_had_an_actor() -> None:
    assert death_of(None) == Death()
    assert death_of(None, Preempted()).free


def test_a_lost_gang_carries_its_ranks_death() -> None:
    lost = GangLost("a worker of the trial died", Death(free=True))
    assert (str(lost), lost.death.free) == ("a worker of the trial died", True)

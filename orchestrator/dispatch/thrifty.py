"""What keeps Tune from ending processes that it needs, in liberties taken with the insides of Ray 2.60.

With a searcher Tune asks for one trial at a time, and for the next when that one runs:

- A trial whose actor starts is given one that has become free, and Tune ends the one that starts: where
  trials are shorter than the start of a process, again and again, so that one slot runs them all. Nor can the
  trial wait for its own: all others that become free meanwhile would be ended but one, and a start that hangs
  would hold the sweep. Here it takes what is free, and its own joins the free ones once up.
- As many actors are kept free as trials wait, mostly one: of two trials that end while a third is about to
  begin, one loses its process. Here all are kept until no trial has waited for a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

LINGER_SECONDS = 1.0
"""So long actors that are free are kept while no trial waits for one; others may need their resources."""

# What is used of Tune's controller and of its cache of free actors.
_OF_CONTROLLER = {
    "_maybe_reuse_cached_actor", "_cleanup_trials", "_remove_actor", "_actor_failed", "_trial_to_actor",
    "_actor_to_trial", "_resetting_trials", "_started_actors", "_stopping_actors", "_earliest_stopping_actor",
    "_actor_manager", "_actor_cache",
}  # fmt: skip
_OF_CACHE = {
    "cache_object", "pop_cached_object", "has_cached_object", "flush_cached_objects", "increase_max",
    "_cached_objects", "_max_num_objects", "_num_cached_objects",
}  # fmt: skip


def thrifty(module: Any) -> list[tuple[Any, str, Any]]:
    """What is to be put in place in Tune's controller's module; nothing where it is not made like Ray 2.60's.

    Returns:
        (where, name, what) each.
    """
    controller: Any = getattr(module, "TuneController", None)
    cache: Any = getattr(module, "_ObjectCache", None)
    if not (_has(controller, _OF_CONTROLLER) and _has(cache, _OF_CACHE)):
        return []
    return [
        (controller, "_maybe_reuse_cached_actor", releasing(controller._maybe_reuse_cached_actor)),
        (controller, "_cleanup_trials", abandoning(controller._cleanup_trials)),
        (module, "_ObjectCache", lingering(cache)),
    ]


def _has(kind: Any, names: set[str]) -> bool:
    """Whether objects of a class have these attributes, those that are set as they are made included."""
    made = getattr(getattr(kind, "__init__", None), "__code__", None)
    return names <= {*dir(kind), *getattr(made, "co_names", ())}


def releasing(reuse: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Gives a trial an actor that is free, as Tune does; the one that starts for it is left to start."""

    def release(self: Any, trial: Any) -> Any:
        own, key = self._trial_to_actor.get(trial), trial.placement_group_factory
        starts = self._actor_manager.is_actor_started(own) and trial not in self._resetting_trials
        if starts and self._actor_cache.has_cached_object(key):
            del self._trial_to_actor[trial], self._actor_to_trial[own]
            own.set_on_start(lambda actor: up(self, key, actor))
            own.set_on_error(None)  # it has no trial to fail
            self._stopping_actors[own] = now = time.monotonic()  # Tune ends it where it is not up in minutes
            self._earliest_stopping_actor = min(self._earliest_stopping_actor, now)
        return reuse(self, trial)

    def up(self: Any, key: Any, actor: Any) -> None:
        self._stopping_actors.pop(actor, None)
        self._started_actors.add(actor)
        actor.set_on_error(self._actor_failed)
        if not self._actor_cache.cache_object(key, actor):
            self._remove_actor(actor)

    return release


def abandoning(cleanup: Callable[[Any], None]) -> Callable[[Any], None]:
    """Ends a sweep as Tune does, but for actors that still start, which are not waited for."""

    def abandon(self: Any) -> None:
        for actor in set(self._stopping_actors) - self._started_actors:
            if self._actor_manager.is_actor_started(actor):
                self._actor_manager.remove_actor(actor, kill=True)
        cleanup(self)

    return abandon


def lingering(kind: Any) -> Any:
    """Tune's cache of free actors, but it keeps them all until no trial has waited for a second.

    Where a trial waits that takes other resources, as Tune does: it needs what the free ones hold.
    """

    class Lingering(kind):  # type: ignore[misc]
        quiet = math.inf  # since when no trial waits

        def increase_max(self, key: Any, by: int = 1) -> None:
            self.quiet = math.inf  # also where the trial runs before the next flush
            super().increase_max(key, by)

        def cache_object(self, key: Any, obj: Any) -> bool:
            if self._keys() - {key}:
                return bool(super().cache_object(key, obj))
            self._cached_objects[key].append(obj)
            self._num_cached_objects += 1
            return True

        def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
            """Those to end, asked for in each turn of Tune's loop; one is kept for whatever comes."""
            keys, now = self._keys(), time.monotonic()
            if not any(self._max_num_objects.values()):
                self.quiet = min(self.quiet, now)
            if force_all or len(keys) > 1:
                yield from super().flush_cached_objects(force_all)
            elif now - self.quiet > LINGER_SECONDS:
                while self._num_cached_objects > 1:
                    yield self.pop_cached_object(*keys)

        def _keys(self) -> set[Any]:
            """The resources of those that wait and of those that are free."""
            places = (self._max_num_objects, self._cached_objects)
            return {key for place in places for key, held in place.items() if held}

    return Lingering

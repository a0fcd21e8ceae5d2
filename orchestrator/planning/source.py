"""Which feed a plan's jobs come from."""

from __future__ import annotations

from orchestrator.planning.feed import Feed, Queue
from orchestrator.planning.plan import Plan
from orchestrator.planning.sequential import Sequential
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import SETTLED
from orchestrator.sweepfile.sweep import Sweep


def source_of(sweep: Sweep, planned: Plan, ledger: Ledger, train: bool = True) -> Feed:
    """The feed of what is left of a sweep: a queue, a search, or seeds that are added.

    Args:
        sweep, planned: what is asked for. ledger: of the store.
        train: False gives only the evaluations of trials that are done.
    """
    done = [key for key, status in planned.status.items() if status == "completed"]
    evaluations = planned.evaluated.todo
    if not train:
        return Queue([job for job in evaluations if job.parent in set(done)], done)
    if sweep.search:
        from orchestrator.planning.search import Search

        return Search(sweep, ledger)
    if planned.course:
        todo = {job.key for job in evaluations}
        over = {key for key, status in planned.status.items() if status in SETTLED}
        over |= {job.key for job in planned.evaluated.jobs if job.key not in todo}
        return Sequential(sweep, planned.course, over, done)
    return Queue(planned.todo + evaluations, done)

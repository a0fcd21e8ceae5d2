"""What drivers that died have left: leases, claims, and checkpoints of jobs that had just been finished.

A worker writes its row, then removes its checkpoint; its driver hears of it, then lets go of the claim. Who
dies in between leaves a claim on a key that is done, which nobody will take again.
"""

from __future__ import annotations

import logging

from engine.files import RESUME
from orchestrator.records.claims import FOLDER, let_go, take
from orchestrator.records.lease import Holder, Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store

SUFFIX = ".json"


def clear(lease: Lease, ledger: Ledger, rule: str = "") -> None:
    """Remove what the dead hold; a store that refuses is left as it is, with a warning.

    Args:
        lease: of this driver. ledger: of its store. rule: digest of the sweep's scheduler.
    """
    try:
        for name in lease.store.names(FOLDER):
            if _is_of_the_dead(lease, f"{FOLDER}/{name}"):
                _clear_claim(lease, ledger, name, rule)
        for name in lease.store.names("drivers"):
            if name.endswith(SUFFIX) and _is_of_the_dead(lease, f"drivers/{name}"):
                lease.store.remove(f"drivers/{name.removesuffix(SUFFIX)}.stop")
                lease.store.remove(f"drivers/{name}")
    except OSError as error:
        logging.getLogger("perturb").warning("what dead drivers left was not removed: %s", error)


def forget(store: Store, key: str, whole: bool = False) -> None:
    """Remove the checkpoint from which a trial would go on that is done; weights that are kept stay.

    Args:
        whole: remove all that is there, as of an evaluation, which keeps nothing.
    """
    store.remove(f"checkpoints/{key}/{RESUME}")
    if whole or not store.names(f"checkpoints/{key}"):  # another sweep may keep the same trial's weights
        store.remove_folder(f"checkpoints/{key}")


def _is_of_the_dead(lease: Lease, name: str) -> bool:
    held = Holder.parse(lease.store.get(name))
    return held is not None and held.id != lease.me.id and lease.living(held) is None


def _clear_claim(lease: Lease, ledger: Ledger, name: str, rule: str) -> None:
    if take(lease, f"{FOLDER}/{name}").by is not None:
        return  # another driver was faster
    if name.endswith(SUFFIX):  # not a mark of one that died while it took a claim over
        key = name.removesuffix(SUFFIX)
        if ledger.evaluations.is_done(key):
            lease.store.remove_folder(f"checkpoints/{key}")
        elif ledger.is_done(key, rule):
            forget(lease.store, key)
    let_go(lease, f"{FOLDER}/{name}")

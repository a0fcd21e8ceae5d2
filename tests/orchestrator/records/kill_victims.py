"""What test_kill.py runs and kills: ``python kill_victims.py write|compact STORE``."""

from __future__ import annotations

import sys

from orchestrator.records import compaction
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.conftest import build_row


def main() -> None:
    act, folder = sys.argv[1:]
    ledger = Ledger(Store(folder))
    compaction.TIER = 3
    if act == "write":
        number = len(ledger.index())  # a row that a kill interrupted was either stored or not
        print("ready", flush=True)
        while True:
            row = build_row(f"c{number}", error=str(number), epochs=1)
            ledger.write(row)
            print(row.key, flush=True)
            number += 1
    print("ready", flush=True)
    while True:
        compaction.compact(ledger)


if __name__ == "__main__":
    main()

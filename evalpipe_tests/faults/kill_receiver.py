"""kill -9 to a receiver under load, again and again: python -m evalpipe_tests.faults.kill_receiver HOME --rounds 20

The home must be empty. Ends with 1 when an acknowledged span is missing or a span is there twice.
"""

import argparse
import random
import sys
import time
from pathlib import Path

from evalpipe_tests.faults.accounted import Account, account_of
from evalpipe_tests.faults.hammer import Hammer
from evalpipe_tests.faults.receiver import Receiver

_ALIVE_S = (0.1, 2.0)  # from the first answer on: within a batch, between two, and over an absorption


def survived(root: Path, *, n_rounds: int, seed: int) -> Account:
    """Kill and start a receiver `n_rounds` times while 32 clients send; what then is in the table.

    It is killed a last time at the end, so that what was never absorbed must be found by whoever comes next.
    """
    chance = random.Random(seed)
    receiver = Receiver(root)
    log = root.parent / f"{root.name}-acknowledged.txt"
    receiver.start()
    with Hammer(receiver.http_port, log, seed=seed):
        for _ in range(n_rounds):
            time.sleep(chance.uniform(*_ALIVE_S))
            receiver.kill()
            receiver.start()
        time.sleep(chance.uniform(*_ALIVE_S))
        receiver.kill()
    return account_of(root, log)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    account = survived(given.home.absolute(), n_rounds=given.rounds, seed=given.seed)
    sys.stdout.write(f"{account}\n")
    sys.exit(1 if account.n_lost or account.n_doubled or not account.n_acknowledged else 0)

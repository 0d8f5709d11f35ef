"""A training that is killed after some steps: OUT LAST_STEP."""

import os
import signal
import sys
from pathlib import Path

from test_rft import SETTINGS, train_rft
from tiny_learner import TinyModel, make_episode


def main():
    out, last = Path(sys.argv[1]), int(sys.argv[2])
    episodes = [make_episode(f"{x}{n}", a) for x in "ab" for n in range(4) for a in range(2)]

    def progress(record):
        # The state of an even step is written only after its progress was told.
        if record.step == last + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    train_rft(TinyModel(), episodes, out, SETTINGS, progress)


main()

"""The process that trains: reads a job, prints what happens as JSON lines, and ends.

`python -m ablations.models.training.worker FOLDER SECONDS` expects `job.json` in the folder and writes `result` beside
it, with checkpoints as many seconds apart; where that is there already, an adapter's, it writes `merged`, the whole
model. It ends when its standard input does, so that it does not outlive a study that was killed. Knows how a training
is called.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def main(folder: Path, checkpoint_seconds: float) -> int:
    """Train, and return the exit code: 0 where the last line is an outcome or a failure."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed belongs to the log

    def say(kind: str, what: Any) -> None:
        lines.write(json.dumps({kind: what}) + "\n")
        lines.flush()

    threading.Thread(target=_end_with_input, daemon=True).start()
    # Imported late: torch and transformers take seconds, and the thread above must run by then.
    from ablations.models.training.jobs import JOB, MERGED, RESULT, Job, StepSeen
    from ablations.models.training.train import Stopped, merge, train

    job = Job.from_dict(json.loads((folder / JOB).read_text(encoding="utf-8")))
    try:
        if (folder / RESULT).is_dir():
            merge(job, folder / RESULT, folder / MERGED)
            say("merged", MERGED)
            return 0
        outcome = train(
            job,
            folder,
            folder / RESULT,
            lambda what: say("step", what.to_dict()) if isinstance(what, StepSeen) else say("note", what),
            checkpoint_seconds,
        )
    except Stopped as stopped:
        say("failure", stopped.failure.to_dict())
    else:
        say("outcome", outcome.to_dict())
    return 0


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))

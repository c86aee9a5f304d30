"""What more workers bring: the seconds of one study with one, two and four processes on PostgreSQL.

Each worker's engine answers eight requests at a time, half a second each, so that the time is waiting, claims
and databases, and not the two cores of a small machine. A study's time goes from the
last worker's loaded engine to the last request.
"""

import tempfile
from pathlib import Path

from ablations.datasets.queries import choose_subset, load_queries
from ablations.studies.config.file import find_study_file
from ablations.studies.spec import StudySpec
from ablations.tracking.client import open_client
from tests.support.servers import Postgres
from tests.support.specs import load
from tests.support.workers import Shared, Work, begin, end

TRIALS, QUERIES, SECONDS = 32, 8, 0.5
WORKERS = (1, 2, 4)


async def measure(folder: Path) -> dict[str, float]:
    """Return the seconds with each number of workers, and how many times faster than one they are."""
    queries = choose_subset(load_queries("instructions"), QUERIES, seed=0)
    config = load(find_study_file("decoding"), name="s", trials=TRIALS, concurrency=2)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="pg") as own:  # a socket's path must be short
        server = Postgres(Path(own))
        for workers in WORKERS:
            at = folder / str(workers)
            at.mkdir()
            tracking = f"sqlite:///{at / 'mlflow.db'}"
            open_client(tracking)
            shared = Shared(at, server.database(), server.database(), tracking)
            shared.paid.touch()
            spec = StudySpec(config, queries)
            if any(end(begin(shared, spec, Work(workers, SECONDS)))):
                raise RuntimeError(f"a worker failed; read {at}/worker-*.txt")
            figures[f"{workers} workers, s"] = shared.seconds
            figures[f"{workers} workers, times one's speed"] = figures["1 workers, s"] / shared.seconds
        server.end()
    return figures

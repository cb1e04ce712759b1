"""`thingjobs` with a disk that does not sync: what a benchmark compares with. For nothing else."""

from thingjobs_broker.cli.main import run
from thingjobs_broker.store.files import OsFile


def _nothing(_: OsFile) -> None:
    """Not durable at all."""


if __name__ == "__main__":
    OsFile.sync_data = _nothing  # type: ignore[method-assign, assignment]
    OsFile.sync = _nothing  # type: ignore[method-assign, assignment]
    run()

"""The disk side of the service: a journal of records, snapshots of the state, and one holder of both.

Synchronous, and ignorant of what the records mean: bytes in and out. Recovery, in the words of this package:

    prepare_data_directory(data_dir)
    with DataDirectoryLock(data_dir):
        snapshot = newest_valid(files, data_dir / "snapshot")
        journal = Journal.open(files, data_dir / "journal")
        journal.replay(snapshot.position + 1 if snapshot else 1)
"""

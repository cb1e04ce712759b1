"""A disk that forgets, for programs that run with it: what a power cut leaves of their files.

`forgetful.c` notes what was synced. What was not may be there after the cut or not, sector by sector, and a
directory whose names were not synced may have the old ones or the new ones.
"""

import os
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import Final

from tests.support import require_program

SECTOR_BYTES: Final = 512
SOURCE: Final = Path(__file__).with_suffix(".c")


class ForgetfulDisk:
    """The directory `root`, and what of it was synced. `environ` is for the program."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.root = folder / "disk"
        self._shadow = folder / "shadow"
        self._random = random
        library = folder / "forgetful.so"
        compiler = require_program("gcc", package="gcc libc6-dev")
        options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-ldl"]
        subprocess.run([compiler, *options, "-o", library, SOURCE], check=True)
        self.environ = {
            "LD_PRELOAD": str(library),
            "FORGETFUL_ROOT": str(self.root),
            "FORGETFUL_SHADOW": str(self._shadow),
        }
        self.root.mkdir()
        self._all_is_synced()

    def cut(self) -> None:
        """Make `root` what is found after a power cut; the program has been killed."""
        after = self.root.with_name("after")
        # Most often nothing of what was not synced is left: it is the hardest test.
        survives = self._random.choice([0.0, 0.0, 0.5])
        self._leave(self.root, after, survives)
        shutil.rmtree(self.root)
        after.rename(self.root)
        self._all_is_synced()

    def _leave(self, directory: Path, after: Path, survives: float) -> None:
        after.mkdir(mode=0o700)
        for name, inode, is_directory in self._names(directory, survives):
            if is_directory:
                self._leave(directory / name, after / name, survives)
            else:
                path = after / name
                path.write_bytes(self._content(inode, survives))
                path.chmod(0o600)

    def _names(self, directory: Path, survives: float) -> list[tuple[str, int, bool]]:
        inode = directory.stat().st_ino
        if self._random.random() < survives:
            return [(entry.name, entry.inode(), entry.is_dir()) for entry in os.scandir(directory)]
        synced = self._shadow / f"dir-{inode}"
        lines = synced.read_text(encoding="utf-8").splitlines() if synced.exists() else []
        fields = [line.split(" ", 2) for line in lines]
        return [(name, int(inode), kind == "d") for inode, kind, name in fields]

    def _content(self, inode: int, survives: float) -> bytes:
        path = self._shadow / str(inode)
        synced = path.read_bytes() if path.exists() else b""
        if not survives:
            return synced
        written = (self._shadow / f"keep-{inode}").read_bytes()
        size = self._random.choice([len(synced), len(written)])
        found = bytearray(synced[:size].ljust(size, b"\0"))
        for start in range(0, size, SECTOR_BYTES):
            if self._random.random() < survives:
                sector = written[start : start + SECTOR_BYTES]
                found[start : start + len(sector)] = sector
        return bytes(found[:size])

    def _all_is_synced(self) -> None:
        shutil.rmtree(self._shadow, ignore_errors=True)
        self._shadow.mkdir()
        self._note(self.root)

    def _note(self, directory: Path) -> None:
        lines = []
        for entry in os.scandir(directory):
            kind = "d" if entry.is_dir() else "f"
            lines.append(f"{entry.inode()} {kind} {entry.name}\n")
            if entry.is_dir():
                self._note(Path(entry))
            else:
                os.link(entry, self._shadow / f"keep-{entry.inode()}")
                shutil.copyfile(entry, self._shadow / str(entry.inode()))
        (self._shadow / f"dir-{directory.stat().st_ino}").write_text("".join(lines), encoding="utf-8")

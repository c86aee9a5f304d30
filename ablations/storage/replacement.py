"""Replacements: databases written beside their places and put there when they are whole; former files are moved.

Knows files, not what is in them.
"""

import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ablations.core.errors import StorageError, reason

_SQLITE = "sqlite:///"
_BESIDE = ("", "-wal", "-shm", "-journal")
"""The files of one SQLite database."""


@dataclass(frozen=True)
class Replacement:
    """A database that is written again.

    Attributes:
        target: its address.
        mark: in the names of what is written beside it.
    """

    target: str
    mark: str

    @property
    def path(self) -> Path | None:
        """The database's file; None for a server, which is written to as it is."""
        return Path(self.target.removeprefix(_SQLITE)) if self.target.startswith(_SQLITE) else None

    @property
    def exists(self) -> bool:
        """Whether there is such a file already."""
        return self.path is not None and self.path.is_file()

    @property
    def url(self) -> str:
        """Where the new one is written."""
        return self.target if self.path is None else f"{_SQLITE}{self._part}"

    @property
    def _part(self) -> Path:
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.{self.mark}")

    def begin_with_old(self) -> None:
        """Begin with a copy of what is there; raise `StorageError` where it cannot be read."""
        if self.path is not None and self.exists:
            _copy(self.path, self._part)

    def put_in_place(self, former: Path) -> list[Path]:
        """Put the new database in its place and move the old one to the folder `former`; return what was moved.

        Raises:
            StorageError: that cannot be done; the old one stands where it stood.
        """
        if self.path is None or not self._part.is_file():
            return []
        whole = self._part.with_name(f"{self._part.name}.whole")
        _copy(self._part, whole)  # one file, whatever its connections still hold open
        moved: list[tuple[Path, Path]] = []
        try:
            for old in _files(self.path):
                former.mkdir(parents=True, exist_ok=True)
                moved.append((old, former / old.name))
                shutil.move(old, former / old.name)
            whole.rename(self.path)
        except OSError as error:
            for old, new in moved:
                with suppress(OSError):
                    shutil.move(new, old)
            raise StorageError(f"{self.path} cannot be replaced: {reason(error)}; nothing has changed") from error
        return [new for _, new in moved]

    def discard(self) -> None:
        """Delete what was written beside."""
        if self.path is not None:
            for path in (*_files(self._part), *_files(self._part.with_name(f"{self._part.name}.whole"))):
                path.unlink(missing_ok=True)


def move_folders(folder: Path, spared: Path, former: Path) -> list[Path]:
    """Move what lies in a folder to the folder `former`, but `spared`; return where it is."""
    moved = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path != spared:
            former.mkdir(parents=True, exist_ok=True)
            moved.append(Path(shutil.move(path, former / path.name)))
    return moved


def _files(path: Path) -> list[Path]:
    return [found for ending in _BESIDE if (found := path.with_name(path.name + ending)).exists()]


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise StorageError(f"{source} cannot be copied: {error}; move a damaged file away") from error

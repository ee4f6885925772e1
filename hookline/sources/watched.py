"""Files that are watched: what tells that one has changed, without reading it."""

from __future__ import annotations

from pathlib import Path

#: Device, inode, size and times. A file that is replaced by another name, and a symbolic link that leads
#: elsewhere, as Kubernetes mounts secrets, have another inode.
Stamp = tuple[int, int, int, int, int]

#: The stamp of each file as it was looked at; None where it was not there.
Files = dict[Path, Stamp | None]


def stamp(path: Path) -> Stamp | None:
    """Return what tells a file's state from others, or None where it cannot be looked at."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

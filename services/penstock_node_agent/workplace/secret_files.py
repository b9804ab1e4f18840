"""Where do the secrets of an attempt lie while it runs?

In files of mode 0400, in a directory of its own, in memory where the host has a file system there.
Blocking. It does not know what they say.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence

from penstock_contracts.leases import LeaseOrder
from penstock_node_agent.reaper.privileges import find

PLACES = ("/dev/shm", "/run")
DIRECTORY_MODE = 0o700
PASSABLE_MODE = 0o711
FILE_MODE = 0o400
SHARED_DIRECTORY_MODE = 0o755
SHARED_FILE_MODE = 0o444
SHARED = "files"


class SecretFiles:
    """Below `root`. `state_dir`: of the agent; secrets lie there when nothing on this host lies in
    memory."""

    def __init__(self, state_dir: str, places: Sequence[str] = PLACES) -> None:
        place = next((place for place in places if _is_usable(place)), "")
        name = hashlib.sha256(os.path.realpath(state_dir).encode()).hexdigest()[:16]
        self.root = f"{place}/penstock-{name}" if place else f"{state_dir}/secrets"

    def put(self, key: str, files: Mapping[str, str], order: LeaseOrder) -> str:
        """Lay them down, for the user that the job runs as, and return the directory. One that a
        container will see, and nobody else can, may be read there under any user. Raises OSError,
        LookupError (no such user).
        """
        user, shared = order.user, order.container is not None
        self.remove(key)
        self._make_root()
        directory = self._directory(key)
        os.mkdir(directory, DIRECTORY_MODE)
        if shared:  # nobody on the host comes through the one above
            directory = f"{directory}/{SHARED}"
            os.mkdir(directory)
            os.chmod(directory, SHARED_DIRECTORY_MODE)
        owner = find(user)[1:3] if user else None
        for name, text in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(f"{directory}/{name}", flags, FILE_MODE), "wb") as file:
                file.write(text.encode())
                if owner is not None:
                    os.fchown(file.fileno(), *owner)
                os.fchmod(file.fileno(), SHARED_FILE_MODE if shared else FILE_MODE)
        if owner is not None:
            os.chown(directory, *owner)
        return directory

    def remove(self, key: str) -> None:
        shutil.rmtree(self._directory(key), ignore_errors=True)

    def keep_only(self, keys: Sequence[str]) -> None:
        """Whatever else an agent that died has left goes."""
        kept = {os.path.basename(self._directory(key)) for key in keys}
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return
        for name in names:
            if name not in kept:
                shutil.rmtree(f"{self.root}/{name}", ignore_errors=True)

    def _directory(self, key: str) -> str:
        return f"{self.root}/{key.replace('/', '-')}"

    def _make_root(self) -> None:
        """Only its owner may list it; as root, others may pass through to what is theirs."""
        mode = PASSABLE_MODE if os.geteuid() == 0 else DIRECTORY_MODE
        try:
            os.mkdir(self.root, mode)
        except FileExistsError:
            found = os.lstat(self.root)
            if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
                raise PermissionError(f"{self.root} is another's") from None
        os.chmod(self.root, mode)


def _is_usable(place: str) -> bool:
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)

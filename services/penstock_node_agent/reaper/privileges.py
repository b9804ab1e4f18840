"""As whom does a job run, within which limits of its own, and with which /tmp?

Each function changes the process that calls it, for good: a child between fork and exec. It does
not know what is run then.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 0x1000, 0x4000, 0x80000
PR_SET_PDEATHSIG = 1
TMP = "/tmp"
PASSABLE = 0o711
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """End with the parent, until `outlive`; also when it has ended already."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def outlive() -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0), "prctl")


def limit(rlimits: dict[str, int]) -> None:
    """`nofile`, `nproc` and so on, soft and hard; raises OSError, ValueError."""
    import resource

    for name, value in rlimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:
            raise OSError(f"cannot set the limit {name}={value}: {error}") from error


def hide_tmp(work: str, size_mib: int | None) -> None:
    """An empty /tmp in memory that nobody else sees; it is gone with the last process in it. A work
    directory below /tmp stays where it is."""
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", None, MS_REC | MS_SLAVE, None)
    kept = os.open(work, os.O_PATH | os.O_CLOEXEC) if f"{work}/".startswith(f"{TMP}/") else None
    options = "mode=1777" if size_mib is None else f"mode=1777,size={size_mib}m"
    _mount("penstock", TMP, "tmpfs", MS_NOSUID | MS_NODEV, options)
    if kept is not None:
        os.makedirs(work)
        _mount(f"/proc/self/fd/{kept}", work, None, MS_BIND | MS_REC, None)
        os.close(kept)
    os.chdir(work)


def become(user: str, work: str, env: dict[str, str]) -> None:
    """Run as `NAME`, `NAME:GROUP` or the same in numbers, with that user's groups; owns its work
    directory and output. Raises OSError, LookupError."""
    name, uid, gid, home = find(user)
    if uid == os.geteuid() and gid == os.getegid():
        return
    groups = os.getgrouplist(name, gid) if name else [gid]
    for mine in (".", 1, 2):
        os.chown(mine, uid, gid)
    for parent in (os.path.dirname(work), os.path.dirname(os.path.dirname(work))):
        status = os.stat(parent)
        if status.st_uid == 0 and not status.st_mode & 0o001:
            os.chmod(parent, status.st_mode & 0o7777 | PASSABLE)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if not os.access(work, os.X_OK):
        raise OSError(f"user {user} cannot come to {work}: a directory above it bars the way")
    for variable, value in (("USER", name), ("LOGNAME", name), ("HOME", home)):
        if value:
            env.setdefault(variable, value)


def find(user: str) -> tuple[str, int, int, str]:
    """Name ("" = has none), user, group, home."""
    import grp
    import pwd

    who, _, group = user.partition(":")
    try:
        entry = pwd.getpwuid(int(who)) if who.isdigit() else pwd.getpwnam(who)
    except KeyError:
        if not who.isdigit():
            raise LookupError(f"there is no user {who!r} on this host") from None
        name, uid, gid, home = "", int(who), int(who), "/"
    else:
        name, uid, gid, home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise LookupError(f"there is no group {group!r} on this host") from None
    return name, uid, gid, home


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: Any) -> None:
    texts = [text if text is None else text.encode() for text in (source, target, kind, data)]
    found = _libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3])
    _check(found, f"mount {target}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

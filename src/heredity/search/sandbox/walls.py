"""What a process puts between itself and the machine: Landlock, limits, lesser rights, namespaces of its own.

Everything here is irrevocable for the process that calls it and for its children. The kernel's interfaces are called
through ctypes; numbers are those of the kernel's headers.
Sources: linux/landlock.h, linux/capability.h, sched.h; landlock(7), user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, SIGKILL = 1, 8, 36, 9
NEW_MOUNTS, NEW_HOST, NEW_IPC, NEW_USER, NEW_PIDS, NEW_NET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 0x4000, 0x40000, 2
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
FIRST_USER = 0x70000000  # users of sandboxed processes start here, where no real ones are
NOBODY = 65534

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same on all architectures
READ_FILE, WRITE_FILE, READ_DIR = 1 << 2, 1 << 1, 1 << 3
# To remove, and to make folders, files, pipes and links; sockets and devices are never made.
CHANGE = (1 << 4) | (1 << 5) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 12)
REFER, TRUNCATE = 1 << 13, 1 << 14

# What an interpreter and its libraries read besides their own folders.
SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def landlock_version() -> int:
    """The kernel's Landlock interface, 0 when it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def interpreter_folders() -> list[str]:
    """Where this interpreter and its packages lie."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [f"{prefix}/{name}" for prefix in (sys.prefix, sys.base_prefix) for name in ("lib", "lib64")]
    paths += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return sorted({path for path in paths if path and Path(path).is_dir()})


def wall_files(folder: str, readable: Iterable[str]) -> None:
    """Landlock: from now on only `folder` is written, only it and `readable` are read, nothing is run as a program.

    Raises:
        OSError: the kernel has no Landlock.
    """
    libc, version = _libc(), landlock_version()
    # Version 1 knows 13 rights; 2 adds moving between folders, 3 truncating, 5 device ioctls.
    handled = (1 << 13) - 1
    handled |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | ((1 << 15) if version >= 5 else 0)
    attributes = struct.pack("=Q", handled)
    if version >= 4:  # no TCP
        attributes += struct.pack("=Q", 3)
    if version >= 6:  # no abstract Unix sockets and no signals to the outside
        attributes += struct.pack("=Q", 3)
    rules = _checked(
        libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "no Landlock rule set"
    )
    reading = READ_FILE | READ_DIR
    own = (reading | WRITE_FILE | CHANGE | REFER | TRUNCATE) & handled
    allowed = dict.fromkeys(readable, reading) | {"/dev/null": READ_FILE | WRITE_FILE, folder: own}
    for path, rights in allowed.items():
        try:
            where = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            mine = rights if Path(path).is_dir() else rights & (READ_FILE | WRITE_FILE)
            rule = struct.pack("=Qi", mine, where)
            _checked(libc.syscall(LANDLOCK_ADD, rules, 1, rule, 0), f"no Landlock rule for {path}")
        finally:
            os.close(where)
    # From version 7 on denials would be written to the audit log; a flood of them is of no use to anybody.
    _checked(libc.syscall(LANDLOCK_RESTRICT, rules, 1 if version >= 7 else 0), "Landlock was not taken")
    os.close(rules)


def limit(*, seconds: int, memory_bytes: int, file_bytes: int, threads: int, files: int) -> None:
    """Limits of this process, soft and hard alike.

    Args:
        seconds: of CPU time, all threads together.
        memory_bytes: of address space, beyond what is mapped now.
        file_bytes: a file's size.
        threads: threads and processes of this user.
        files: open files.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    wanted = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + memory_bytes,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: threads,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 256,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def threads_of(user: int) -> int:
    """Threads of a user's processes, everywhere: what the limit on threads counts."""
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += sum(1 for _ in (entry / "task").iterdir())
        except OSError:
            continue  # it has ended, or is not to be looked at
    return count


def own_namespaces() -> str:
    """Namespaces of one's own for children's process numbers, and for mounts, network, IPC and the host's name.

    Returns:
        "root" where it needed no user namespace, "user" with one, "" where the kernel allows neither.
    """
    libc = _libc()
    flags = NEW_PIDS | NEW_NET | NEW_MOUNTS | NEW_IPC | NEW_HOST
    if libc.unshare(flags) == 0:
        return "root"
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(flags | NEW_USER) != 0:
        return ""
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    except OSError:
        pass  # without a mapping everything belongs to nobody; what needs more is seen to fail where it is tried
    return "user"


def private_disk(folder: str, size: int, user: int, group: int) -> bool:
    """A file system in memory at `folder` that only this mount namespace sees and that ends with it."""
    libc = _libc()
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    options = f"size={size},nr_inodes=4096,mode=0700,uid={user},gid={group}".encode()
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", MS_NOSUID | MS_NODEV, options) == 0)


def drop_disk(folder: str) -> None:
    """Take a `private_disk` away, if there is one."""
    _libc().umount2(os.fsencode(folder), MNT_DETACH)


def become(user: int) -> bool:
    """Give up root for a user who owns nothing and whose threads are counted apart, still able to read.

    What may be read is Landlock's affair; the interpreter may lie in a folder of root's.
    """
    _libc().prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    held = _capabilities()
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError:
        return False
    reading = 1 << CAP_DAC_READ_SEARCH
    keep_only(reading if held & reading else 1 << CAP_DAC_OVERRIDE)
    return True


def keep_only(capabilities: int) -> None:
    """Drop all capabilities but these, of those that are held."""
    kept = _capabilities() & capabilities
    header = struct.pack("=Ii", 0x20080522, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    _checked(_libc().syscall(_CAPSET[os.uname().machine], header, data), "capabilities could not be dropped")


_CAPSET = {"x86_64": 126, "aarch64": 91}


def _capabilities() -> int:
    """The permitted ones, as bits."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def die_with_parent(parent: int) -> None:
    """Be killed when the process that started this one ends."""
    _libc().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents have ended."""
    _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

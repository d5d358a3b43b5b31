"""The system calls that code in the sandbox may not make: a seccomp filter, written by hand for x86-64 and AArch64.

A refused call fails with EPERM, so that the code sees an ordinary `PermissionError`. A call that is newer than the
table fails with ENOSYS, as on an older kernel: what nobody has looked at is not allowed. Another architecture's calls
(32-bit ones on a 64-bit kernel) end the process.
Sources: linux/seccomp.h, linux/bpf_common.h, asm/unistd_64.h, asm-generic/unistd.h; seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

NEWEST = 469  # file_setattr; from 424 on the numbers are the same everywhere
X32 = 0x40000000  # the x32 calls of x86-64 have this bit
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # machine → AUDIT_ARCH_*, column of the table
THREAD = 0x00010000  # CLONE_THREAD
OWNER_COMMANDS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: they can make the kernel signal somebody else
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 38, 22, 2

# name → number on x86-64, on AArch64 (None: it does not have it), by what the call would reach.
REFUSED: dict[str, dict[str, tuple[int, int | None]]] = {
    "network": {
        "socket": (41, 198),
        "connect": (42, 203),
        "accept": (43, 202),
        "sendto": (44, 206),
        "recvfrom": (45, 207),
        "sendmsg": (46, 211),
        "recvmsg": (47, 212),
        "bind": (49, 200),
        "listen": (50, 201),
        "socketpair": (53, 199),
        "accept4": (288, 242),
        "recvmmsg": (299, 243),
        "sendmmsg": (307, 269),
    },
    "other processes": {
        "ptrace": (101, 117),
        "rt_sigqueueinfo": (129, 138),
        "setpriority": (141, 140),
        "sched_setparam": (142, 118),
        "sched_setscheduler": (144, 119),
        "tkill": (200, 130),
        "sched_setaffinity": (203, 122),
        "ioprio_set": (251, 30),
        "migrate_pages": (256, 238),
        "move_pages": (279, 239),
        "rt_tgsigqueueinfo": (297, 240),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "kcmp": (312, 272),
        "sched_setattr": (314, 274),
        "pidfd_send_signal": (424, 424),
        "pidfd_open": (434, 434),
        "pidfd_getfd": (438, 438),
        "process_madvise": (440, 440),
        "process_mrelease": (448, 448),
    },
    "new processes and leaving the group": {
        "fork": (57, None),
        "vfork": (58, None),
        "execve": (59, 221),
        "setpgid": (109, 154),
        "setsid": (112, 157),
        "unshare": (272, 97),
        "setns": (308, 268),
        "execveat": (322, 281),
    },
    "limits": {"setrlimit": (160, 164)},
    "mounts": {
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "acct": (163, 89),
        "mount": (165, 40),
        "umount2": (166, 39),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "quotactl": (179, 60),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "quotactl_fd": (443, 443),
        "open_tree_attr": (467, 467),
    },
    # Landlock does not watch over these: they would change files outside, whoever may own them.
    "a file's owner, mode, times and attributes": {
        "truncate": (76, 45),
        "chmod": (90, None),
        "fchmod": (91, 52),
        "chown": (92, None),
        "fchown": (93, 55),
        "lchown": (94, None),
        "utime": (132, None),
        "mknod": (133, None),
        "setxattr": (188, 5),
        "lsetxattr": (189, 6),
        "fsetxattr": (190, 7),
        "removexattr": (197, 14),
        "lremovexattr": (198, 15),
        "fremovexattr": (199, 16),
        "utimes": (235, None),
        "mknodat": (259, 33),
        "fchownat": (260, 54),
        "futimesat": (261, None),
        "fchmodat": (268, 53),
        "utimensat": (280, 88),
        "fchmodat2": (452, 452),
        "setxattrat": (463, 463),
        "removexattrat": (466, 466),
        "file_setattr": (469, 469),
    },
    "files without their path": {
        "inotify_add_watch": (254, 27),
        "fanotify_init": (300, 262),
        "fanotify_mark": (301, 263),
        "name_to_handle_at": (303, 264),
        "open_by_handle_at": (304, 265),
    },
    "ways around a filter, and the kernel": {
        "modify_ldt": (154, None),
        "personality": (135, 92),
        "keyctl": (250, 219),
        "add_key": (248, 217),
        "request_key": (249, 218),
        "perf_event_open": (298, 241),
        "bpf": (321, 280),
        "userfaultfd": (323, 282),
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "iopl": (172, None),
        "ioperm": (173, None),
        "vhangup": (153, 58),
        "adjtimex": (159, 171),
        "settimeofday": (164, 170),
        "reboot": (169, 142),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "init_module": (175, 105),
        "delete_module": (176, 106),
        "syslog": (103, 116),
        "clock_settime": (227, 112),
        "kexec_load": (246, 104),
        "clock_adjtime": (305, 266),
        "finit_module": (313, 273),
        "kexec_file_load": (320, 294),
    },
    "memory that outlives or escapes the limits": {
        "shmget": (29, 194),
        "shmat": (30, 196),
        "shmctl": (31, 195),
        "semget": (64, 190),
        "semctl": (66, 191),
        "msgget": (68, 186),
        "msgsnd": (69, 189),
        "msgctl": (71, 187),
        "semtimedop": (220, 192),
        "mq_open": (240, 180),
        "mq_unlink": (241, 181),
        "memfd_create": (319, 279),
        "memfd_secret": (447, 447),
    },
}
KILL, TGKILL, CLONE, CLONE3 = (62, 129), (234, 131), (56, 220), (435, 435)
FCNTL, PRLIMIT, PRCTL = (72, 25), (302, 261), (157, 167)

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000


def supported() -> bool:
    """Whether there is a filter for this machine and the kernel takes filters."""
    if platform.system() != "Linux" or platform.machine() not in ARCHITECTURES or struct.calcsize("P") != 8:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # Asked to read a filter at address 0, a kernel that has filters answers EFAULT, one that has not EINVAL.
    refused = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0) != 0
    return refused and ctypes.get_errno() == errno.EFAULT


def program(machine: str, pid: int) -> bytes:
    """The filter's instructions for a process that may signal itself only.

    Args:
        machine: "x86_64" or "aarch64".
        pid: the process's own number as it sees it.
    """
    arch, column = ARCHITECTURES[machine]
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    unknown = _step(_RETURN, _ERRNO | errno.ENOSYS)
    allow = _step(_RETURN, _ALLOW)
    steps = [_step(_LOAD, 4), _step(_EQUAL, arch, 1, 0), _step(_RETURN, _KILL_PROCESS), _step(_LOAD, 0)]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, X32, 0, 1), refuse]
    steps += [_step(_AT_LEAST, NEWEST + 1, 0, 1), unknown]
    for calls in REFUSED.values():
        for numbers in calls.values():
            number = numbers[column]
            if number is not None:
                steps += [_step(_EQUAL, number, 0, 1), refuse]
    # A C library falls back to clone, whose flags a filter can read, where clone3 does not exist.
    steps += [_step(_EQUAL, CLONE3[column], 0, 1), unknown]
    steps += _when(CLONE[column], [_argument(0), _step(_ANY_BIT, THREAD, 0, 1), allow, refuse])
    for numbers in (KILL, TGKILL):
        steps += _when(numbers[column], [_argument(0), _step(_EQUAL, pid & 0xFFFFFFFF, 0, 1), allow, refuse])
    setting_owner = [step for command in OWNER_COMMANDS for step in (_step(_EQUAL, command, 0, 1), refuse)]
    steps += _when(FCNTL[column], [_argument(1), *setting_owner, allow])
    # It shall die with its parent, whatever it thinks of it.
    steps += _when(PRCTL[column], [_argument(0), _step(_EQUAL, PR_SET_PDEATHSIG, 0, 1), refuse, allow])
    reading = [_argument(2), _step(_EQUAL, 0, 1, 0), refuse, _argument(2, high=True), _step(_EQUAL, 0, 1, 0), refuse]
    steps += _when(PRLIMIT[column], [*reading, allow])
    return b"".join([*steps, allow])


def refuse_calls() -> None:
    """Put this thread, and all that it starts, behind the filter, for ever. `no_new_privileges` comes first.

    Raises:
        OSError: the kernel does not take it.
    """
    code = program(platform.machine(), os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    header = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel did not take the seccomp filter")


def no_new_privileges() -> None:
    """Give up gaining privileges by running programs, for ever."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel did not set no_new_privs")


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter: what to do, with what, and how many instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _argument(place: int, high: bool = False) -> bytes:
    """Load the lower or upper half of a call's argument (little-endian)."""
    return _step(_LOAD, 16 + 8 * place + (4 if high else 0))


def _when(number: int, steps: list[bytes]) -> list[bytes]:
    """Steps for one call; they must end by returning, for the call's number is no longer loaded after them."""
    return [_step(_EQUAL, number, 0, len(steps)), *steps]

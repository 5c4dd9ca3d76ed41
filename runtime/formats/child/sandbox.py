"""A process that reads what strangers made gives up what it has no use for: other files, the network, other programs.

Nobody can take it back, and whatever the process starts has not more. By two parts of Linux, of which either may be missing:

    seccomp   the kernel refuses system calls: NETWORK, PROCESSES, PROGRAMS and OWNERS, and always those of ALWAYS. And all that
              have a number from NEWER on, which are the same everywhere: as if the kernel were older, so libraries do without
    landlock  the kernel opens only files that lie at a place of `Rights`. What is open already stays open

`give_up` does what can be done and says what cannot; `plif info` prints it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

# Where libraries and what loads them lie; Nix and Guix have all of them in one place.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")

# --- seccomp: name, number on x86-64, number on aarch64 (- where it has none) -------------------------------------

ARCHITECTURES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7), "arm64": (2, 0xC00000B7)}
# A 32-bit Python on a 64-bit kernel, as on a Raspberry Pi, has other numbers.
MACHINE = platform.machine() if sys.maxsize > 1 << 32 else f"32 bits of {platform.machine()}"
NEWER = 424  # pidfd_send_signal; io_uring, clone3, openat2, fchmodat2 and whatever comes
CONNECT, LISTEN = "connect 42 203", "accept 43 202, bind 49 200, listen 50 201, socketpair 53 199, accept4 288 242"
# Of IPv4 and IPv6 only: one with a name in the file system reaches whoever listens there.
SOCKET, INTERNET = "socket 41 198", (2, 10)
PROCESSES = """fork 57 -, vfork 58 -"""  # and clone, but for threads
PROGRAMS = """execve 59 221, execveat 322 281"""
# Landlock says nothing of these, which need only the name of a file.
OWNERS = """chmod 90 -, fchmod 91 52, fchmodat 268 53, chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54, setxattr 188 5,
 lsetxattr 189 6, fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, utime 132 -, utimes 235 -,
 futimesat 261 -, utimensat 280 88, truncate 76 45"""
ALWAYS = """kill 62 129, tkill 200 130, tgkill 234 131, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, ptrace 101 117,
 process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, setpriority 141 140, sched_setparam 142 118,
 sched_setscheduler 144 119, sched_setaffinity 203 122, sched_setattr 314 274, ioprio_set 251 30, migrate_pages 256 238,
 move_pages 279 239, shmget 29 194, shmat 30 196, shmctl 31 195, semget 64 190, semop 65 193, semctl 66 191,
 semtimedop 220 192, msgget 68 186, msgsnd 69 189, msgrcv 70 188, msgctl 71 187, mq_open 240 180, mq_unlink 241 181,
 memfd_create 319 279, add_key 248 217,
 request_key 249 218, keyctl 250 219, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, name_to_handle_at 303 264,
 open_by_handle_at 304 265, fanotify_init 300 262, mknod 133 -, mknodat 259 33, mount 165 40, umount2 166 39,
 pivot_root 155 41, chroot 161 51, unshare 272 97, setns 308 268, swapon 167 224, swapoff 168 225, acct 163 89, quotactl 179 60,
 reboot 169 142, kexec_load 246 104, kexec_file_load 320 294, init_module 175 105, finit_module 313 273, delete_module 176 106,
 syslog 103 116, iopl 172 -, ioperm 173 -, modify_ldt 154 -, personality 135 92, sethostname 170 161, setdomainname 171 162,
 settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266, vhangup 153 58"""
CLONE, CLONE_THREAD = "clone 56 220", 0x10000
# Before its version 3 landlock asks nothing of who empties a file that is opened to be read, or (3) for neither.
OPEN, OPENAT, O_TRUNC, WITH_MODE, EMPTIES = "open 2 -", "openat 257 56", 0x200, 0x203, (0x200, 0x203)
# Of a terminal whether it is one, and its size; how much can be read, whether a file waits and stays. Not: to type into one.
IOCTL, ASKS = "ioctl 16 29", (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
FCNTL, OWNER = "fcntl 72 25", (8, 15, 1024)  # whom a pipe sends signals; a lease, for which others have to wait
PRLIMIT = "prlimit64 302 261"  # for itself, which is process 0
# Root may do all that; it keeps only that it reads what belongs to others.
CAPGET, CAPSET, CAPABILITIES, READ_SEARCH = "capget 125 90", "capset 126 91", 0x20080522, 1 << 2
SECCOMP, SET_MODE_FILTER, TSYNC, SET_NO_NEW_PRIVS = "seccomp 317 277", 1, 1, 38
# Instructions of the filter: a word of the call, jumps, an answer.
LOAD, MASK, EQUAL, AT_LEAST, ANSWER = 0x20, 0x54, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_AT, SECOND_AT, THIRD_AT = 0, 4, 16, 24, 32
ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS

# --- landlock -----------------------------------------------------------------------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF, PATH_BENEATH = 444, 445, 446, 1
EXECUTE, WRITE, READ, LIST, REMOVE, MAKE, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8, 1 << 14
CHANGES = 0xFFFF & ~(EXECUTE | READ | LIST)
OF_A_FILE = EXECUTE | WRITE | READ | TRUNCATE
RIGHTS_OF = {1: 13, 2: 14, 3: 15, 4: 15}  # version: how many rights it knows; later ones know 16
TCP, SIGNALS_AND_NAMED_SOCKETS = 3, 3
REASONS = {errno.ENOSYS: "this kernel has none", errno.EOPNOTSUPP: "it was switched off when Linux started"}


@dataclass(frozen=True)
class Rights:
    """What a process keeps. Places are files, folders with all that is in them, or descriptors of either.

    read       places; None: everything can be read and run       write  folders for plain files, each by itself
    run        places of programs that it may become
    network, threads, processes, owners   whether it may connect, start threads and processes, and change whom files belong to
    """

    read: tuple[str | int, ...] | None
    write: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    network: bool = False
    threads: bool = False
    processes: bool = False
    owners: bool = False

    def seccomp(self) -> bytes:
        """The filter. Raises LookupError on a processor whose numbers are not known."""
        architecture = ARCHITECTURES[MACHINE][1]
        groups = [ALWAYS, LISTEN]
        groups += [] if self.network else [CONNECT]
        groups += [] if self.processes else [PROCESSES]
        groups += [] if self.processes or self.run else [PROGRAMS]
        groups += [] if self.owners else [OWNERS]
        numbers = [_number(each) for group in groups for each in group.split(",")]
        code: list[tuple[int, int, int, int]] = [
            (LOAD, 0, 0, ARCHITECTURE_AT),
            (EQUAL, 1, 0, architecture),
            (ANSWER, 0, 0, REFUSED),
            (LOAD, 0, 0, NUMBER_AT),
            (AT_LEAST, 0, 1, NEWER),  # so is what carries the bit of x32
            (ANSWER, 0, 0, UNKNOWN),
        ]
        for number in numbers:
            if number >= 0:
                code += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, REFUSED)]
        whole = 0xFFFFFFFF
        conditions: list[tuple[str, int, int, tuple[int, ...], int]] = [
            (IOCTL, SECOND_AT, whole, ASKS, ALLOWED),
            (FCNTL, SECOND_AT, whole, OWNER, REFUSED),
            (PRLIMIT, FIRST_AT, whole, (0,), ALLOWED),
            (SOCKET, FIRST_AT, whole, INTERNET if self.network else (), ALLOWED),
            (OPENAT, THIRD_AT, WITH_MODE, EMPTIES, REFUSED),
        ]
        conditions += [(OPEN, SECOND_AT, WITH_MODE, EMPTIES, REFUSED)] if _number(OPEN) >= 0 else []
        threads = (CLONE_THREAD,) if self.threads else ()
        conditions += [] if self.processes else [(CLONE, FIRST_AT, CLONE_THREAD, threads, ALLOWED)]
        for each, word, mask, values, answer in conditions:
            code += [(EQUAL, 0, 2 * len(values) + 3, _number(each)), (LOAD, 0, 0, word), (MASK, 0, 0, mask)]
            for value in values:
                code += [(EQUAL, 0, 1, value), (ANSWER, 0, 0, answer)]
            code.append((ANSWER, 0, 0, ALLOWED if answer == REFUSED else REFUSED))
        code.append((ANSWER, 0, 0, ALLOWED))
        return b"".join(struct.pack("=HBBI", *each) for each in code)

    def landlock(self, version: int) -> tuple[bytes, list[tuple[str | int, int]]]:
        """What is ruled, as the kernel of this version takes it, and what is allowed: (place, rights)."""
        known = (1 << RIGHTS_OF.get(version, 16)) - 1
        ruled = known & (CHANGES if self.read is None else 0xFFFF)
        attributes = struct.pack("=QQQ", ruled, 0 if self.network else TCP, SIGNALS_AND_NAMED_SOCKETS)
        allowed: list[tuple[str | int, int]] = [(place, READ | WRITE) for place in DEVICES]
        allowed += [(place, WRITE | READ | LIST | TRUNCATE | MAKE | REMOVE) for place in self.write]
        allowed += [(place, READ | LIST) for place in self.read or ()]
        allowed += [(place, READ | LIST | EXECUTE) for place in self.run]
        size = 8 if version < 4 else 16 if version < 6 else 24
        return attributes[:size], [(place, rights & ruled) for place, rights in allowed]


def _number(name: str) -> int:
    """Of a system call, on this processor; -1 where it has none."""
    return int(name.split()[ARCHITECTURES[MACHINE][0]].replace("-", "-1"))


def call(number: int, *arguments: int | bytes | None) -> int:
    """A system call. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    if (found := int(library.syscall(ctypes.c_long(number), *words))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def landlock_version() -> int:
    """Raises OSError where there is none."""
    return call(CREATE_RULESET, None, 0, 1)


def give_up(rights: Rights) -> dict[str, str]:
    """Leaves this process these rights and no others: {what could not be done: why}."""
    if sys.platform != "linux":
        return dict.fromkeys(("seccomp", "landlock"), "only Linux has it")
    ctypes.CDLL(None).prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # without it only root may do what follows
    with suppress(OSError, LookupError):
        drop_capabilities()
    lacks = {}
    for name, confine, since in (("landlock", confine_places, "5.13"), ("seccomp", confine_calls, "3.17")):
        try:
            confine(rights)
        except LookupError:
            lacks[name] = f"the system calls of {MACHINE} are not known"
        except OSError as error:
            lacks[name] = REASONS.get(error.errno or 0, f"refused here ({error.strerror}); a container may forbid it")
            lacks[name] += f" (Linux has it since {since})" if error.errno == errno.ENOSYS else ""
    return lacks


def drop_capabilities() -> None:
    """Root is nobody special, and cannot lift its limits. Raises OSError, LookupError."""
    header, state = struct.pack("=Ii", CAPABILITIES, 0), ctypes.create_string_buffer(24)
    call(_number(CAPGET), header, ctypes.addressof(state))
    kept = struct.unpack("=6I", state.raw)[1] & READ_SEARCH
    call(_number(CAPSET), header, struct.pack("=6I", kept, kept, 0, 0, 0, 0))


def confine_calls(rights: Rights) -> None:
    """Raises OSError, LookupError."""
    code = rights.seccomp()
    at = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(at))
    call(_number(SECCOMP), SET_MODE_FILTER, TSYNC, program)


def confine_places(rights: Rights) -> None:
    """Raises OSError."""
    attributes, allowed = rights.landlock(landlock_version())
    rules = call(CREATE_RULESET, attributes, len(attributes), 0)
    for place, kept in allowed:
        with suppress(OSError):  # what is not there needs no rule
            at = os.open(place, os.O_PATH) if isinstance(place, str) else place
            kept &= -1 if os.path.isdir(at) else OF_A_FILE
            call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", kept, at), 0)
            if isinstance(place, str):
                os.close(at)
    call(RESTRICT_SELF, rules, 0)
    os.close(rules)

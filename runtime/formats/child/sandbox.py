"""A Linux sandbox: a process that reads untrusted files gives up other files, the network and other programs.

No process can regain these rights, and its children have no more. Two parts of Linux do it; either may be missing:

    seccomp   the kernel refuses system calls: NETWORK, PROCESSES, PROGRAMS and OWNERS, and always those of ALWAYS. It refuses
              all with a number from NEWER on, which are the same on all processors, as an older kernel would; libraries cope
    landlock  the kernel opens only files inside the places of `Rights`. Files that are open already stay open

`drop_rights` applies both where it can and returns the ones that are missing; `plif info` prints them.
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

# Folders of libraries and of the dynamic loader; Nix and Guix have one folder for all.
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")

# --- seccomp: name, number on x86-64, number on aarch64 (- where it has none) -------------------------------------

ARCHITECTURES = {"x86_64": (1, 0xC000003E), "aarch64": (2, 0xC00000B7), "arm64": (2, 0xC00000B7)}
# A 32-bit Python on a 64-bit kernel, as on a Raspberry Pi, has other numbers.
MACHINE = platform.machine() if sys.maxsize > 1 << 32 else f"32 bits of {platform.machine()}"
NEWER = 424  # pidfd_send_signal; io_uring, clone3, openat2, fchmodat2 and later ones
CONNECT, LISTEN = "connect 42 203", "accept 43 202, bind 49 200, listen 50 201, socketpair 53 199, accept4 288 242"
# IPv4 and IPv6 only: a socket with a name in the file system reaches any local server.
SOCKET, INTERNET = "socket 41 198", (2, 10)
PROCESSES = """fork 57 -, vfork 58 -"""  # and clone, except for threads
PROGRAMS = """execve 59 221, execveat 322 281"""
# Landlock does not restrict these, which need only the name of a file.
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
 inotify_init 253 -, inotify_init1 294 26, inotify_add_watch 254 27, statfs 137 43, syslog 103 116, iopl 172 -, ioperm 173 -,
 modify_ldt 154 -, personality 135 92, sethostname 170 161, setdomainname 171 162,
 settimeofday 164 170, clock_settime 227 112, adjtimex 159 171, clock_adjtime 305 266, vhangup 153 58"""
CLONE, CLONE_THREAD = "clone 56 220", 0x10000
# Before version 3 landlock does not stop a process that truncates a file opened for reading, or for neither (mode 3).
OPEN, OPENAT, O_TRUNC, WITH_MODE, EMPTIES = "open 2 -", "openat 257 56", 0x200, 0x203, (0x200, 0x203)
# isatty and window size of a terminal; FIONREAD, FIONBIO, close-on-exec. Not TIOCSTI, which types into a terminal.
IOCTL, ASKS = "ioctl 16 29", (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
FCNTL, OWNER = "fcntl 72 25", (8, 15, 1024)  # the receiver of a pipe's signals; a lease, which blocks other processes
PRLIMIT = "prlimit64 302 261"  # for itself, which is process 0
# Root has all capabilities; it keeps only reading the files of other users.
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
RIGHTS_OF = {1: 13, 2: 14, 3: 15, 4: 15}  # version: the number of rights it supports; later versions support 16
TCP, SIGNALS_AND_NAMED_SOCKETS = 3, 3
REASONS = {errno.ENOSYS: "this kernel has none", errno.EOPNOTSUPP: "it was switched off when Linux started"}


@dataclass(frozen=True)
class Rights:
    """The rights that a confined process keeps: files and folders to read, write and run; network, threads, owners.

    Places are files, folders with their contents, or descriptors of either.

    read       places; None: everything can be read and run       write  folders for plain files, each by itself
    run        places of programs that the process may execute
    network, threads, processes, owners   True: it may connect, start threads and processes, and change the owners of
                                          files
    """

    read: tuple[str | int, ...] | None
    write: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    network: bool = False
    threads: bool = False
    processes: bool = False
    owners: bool = False

    def build_seccomp(self) -> bytes:
        """Build the Linux seccomp filter program (system call filter) for these rights, as bytes.

        Raises LookupError on a processor with unknown system call numbers.
        """
        architecture = ARCHITECTURES[MACHINE][1]
        groups = [ALWAYS, LISTEN]
        groups += [] if self.network else [CONNECT]
        groups += [] if self.processes else [PROCESSES]
        groups += [] if self.processes or self.run else [PROGRAMS]
        groups += [] if self.owners else [OWNERS]
        numbers = [_syscall_number(entry) for group in groups for entry in group.split(",")]
        code: list[tuple[int, int, int, int]] = [
            (LOAD, 0, 0, ARCHITECTURE_AT),
            (EQUAL, 1, 0, architecture),
            (ANSWER, 0, 0, REFUSED),
            (LOAD, 0, 0, NUMBER_AT),
            (AT_LEAST, 0, 1, NEWER),  # also all x32 calls, which have bit 30 set
            (ANSWER, 0, 0, UNKNOWN),
        ]
        for number in numbers:
            if number >= 0:
                code += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, REFUSED)]
        full_mask = 0xFFFFFFFF
        conditions: list[tuple[str, int, int, tuple[int, ...], int]] = [
            (IOCTL, SECOND_AT, full_mask, ASKS, ALLOWED),
            (FCNTL, SECOND_AT, full_mask, OWNER, REFUSED),
            (PRLIMIT, FIRST_AT, full_mask, (0,), ALLOWED),
            (SOCKET, FIRST_AT, full_mask, INTERNET if self.network else (), ALLOWED),
            (OPENAT, THIRD_AT, WITH_MODE, EMPTIES, REFUSED),
        ]
        conditions += [(OPEN, SECOND_AT, WITH_MODE, EMPTIES, REFUSED)] if _syscall_number(OPEN) >= 0 else []
        threads = (CLONE_THREAD,) if self.threads else ()
        conditions += [] if self.processes else [(CLONE, FIRST_AT, CLONE_THREAD, threads, ALLOWED)]
        for entry, word, mask, values, answer in conditions:
            code += [(EQUAL, 0, 2 * len(values) + 3, _syscall_number(entry)), (LOAD, 0, 0, word), (MASK, 0, 0, mask)]
            for value in values:
                code += [(EQUAL, 0, 1, value), (ANSWER, 0, 0, answer)]
            code.append((ANSWER, 0, 0, ALLOWED if answer == REFUSED else REFUSED))
        code.append((ANSWER, 0, 0, ALLOWED))
        return b"".join(struct.pack("=HBBI", *entry) for entry in code)

    def build_landlock(self, version: int) -> tuple[bytes, list[tuple[str | int, int]]]:
        """Build the Linux landlock rules for these rights: ruleset attributes, and a list of (place, allowed rights)."""
        supported = (1 << RIGHTS_OF.get(version, 16)) - 1
        ruled = supported & (CHANGES if self.read is None else 0xFFFF)
        attributes = struct.pack("=QQQ", ruled, 0 if self.network else TCP, SIGNALS_AND_NAMED_SOCKETS)
        allowed: list[tuple[str | int, int]] = [(place, READ | WRITE) for place in DEVICES]
        allowed += [(place, WRITE | READ | LIST | TRUNCATE | MAKE | REMOVE) for place in self.write]
        allowed += [(place, READ | LIST) for place in self.read or ()]
        allowed += [(place, READ | LIST | EXECUTE) for place in self.run]
        size = 8 if version < 4 else 16 if version < 6 else 24
        return attributes[:size], [(place, rights & ruled) for place, rights in allowed]


def _syscall_number(name: str) -> int:
    """Return the number of a system call on this processor; -1 when the processor has none."""
    return int(name.split()[ARCHITECTURES[MACHINE][0]].replace("-", "-1"))


def make_syscall(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call and return its result. Raises OSError when it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    words = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument) for argument in arguments
    ]
    if (returned := int(library.syscall(ctypes.c_long(number), *words))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return returned


def read_landlock_version() -> int:
    """Return the version of landlock (file access rules) in this Linux kernel. Raises OSError when it has none."""
    return make_syscall(CREATE_RULESET, None, 0, 1)


def drop_rights(rights: Rights) -> dict[str, str]:
    """Restrict this process to the given rights; return the protections that could not be applied, {name: reason}."""
    if sys.platform != "linux":
        return dict.fromkeys(("seccomp", "landlock"), "only Linux has it")
    ctypes.CDLL(None).prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # without it only root may apply the filters
    with suppress(OSError, LookupError):
        drop_capabilities()
    missing = {}
    for name, confine, since in (("landlock", apply_landlock, "5.13"), ("seccomp", apply_seccomp, "3.17")):
        try:
            confine(rights)
        except LookupError:
            missing[name] = f"the system calls of {MACHINE} are not known"
        except OSError as error:
            missing[name] = REASONS.get(error.errno or 0, f"refused here ({error.strerror}); a container may forbid it")
            missing[name] += f" (Linux has it since {since})" if error.errno == errno.ENOSYS else ""
    return missing


def drop_capabilities() -> None:
    """Drop the special rights (capabilities) that this process has as root, except reading other users' files.

    So root cannot lift its limits. Raises OSError, LookupError.
    """
    header, state = struct.pack("=Ii", CAPABILITIES, 0), ctypes.create_string_buffer(24)
    make_syscall(_syscall_number(CAPGET), header, ctypes.addressof(state))
    capabilities = struct.unpack("=6I", state.raw)[1] & READ_SEARCH
    make_syscall(_syscall_number(CAPSET), header, struct.pack("=6I", capabilities, capabilities, 0, 0, 0, 0))


def apply_seccomp(rights: Rights) -> None:
    """Apply the seccomp filter (allowed system calls) of `rights` to this process. Raises OSError, LookupError."""
    code = rights.build_seccomp()
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    make_syscall(_syscall_number(SECCOMP), SET_MODE_FILTER, TSYNC, program)


def apply_landlock(rights: Rights) -> None:
    """Apply the landlock rules (allowed files and connections) of `rights` to this process. Raises OSError."""
    attributes, allowed = rights.build_landlock(read_landlock_version())
    rules = make_syscall(CREATE_RULESET, attributes, len(attributes), 0)
    for place, allowed_rights in allowed:
        with suppress(OSError):  # a missing place needs no rule
            descriptor = os.open(place, os.O_PATH) if isinstance(place, str) else place
            allowed_rights &= -1 if os.path.isdir(descriptor) else OF_A_FILE
            make_syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", allowed_rights, descriptor), 0)
            if isinstance(place, str):
                os.close(descriptor)
    make_syscall(RESTRICT_SELF, rules, 0)
    os.close(rules)

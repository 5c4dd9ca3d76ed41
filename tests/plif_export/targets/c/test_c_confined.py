"""What a compiled program of a stranger, and the compiler that is given its text, can reach: their own folder, or nothing."""

from __future__ import annotations

import errno
import socket
import subprocess
from pathlib import Path

import pytest

from plif_export.targets.c.compiled import MOST_S, compile_here, find_compiler, make_launcher, run_here
from runtime.core.base.errors import PlifError
from runtime.formats.child.children import find_missing_protections

COMPILER = find_compiler()
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler (gcc, clang or cc)")
PROGRAM = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *what, long failed) { printf("%s %d\n", what, failed < 0 ? errno : 0); fflush(stdout); }
static void *nothing(void *argument) { return argument; }

int main(void) {
    char place[4096];
    int port, child;
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct rlimit limit;
    pthread_t thread;
    if (scanf("%d %4095[^\n]", &port, place) != 2 || chdir(place)) return 9;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    say("connects", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to));
    say("reads", open("secret", O_RDONLY));
    say("writes", open("written", O_CREAT | O_WRONLY, 0600));
    say("changes", chmod("secret", 0777));
    say("signals", kill(getppid(), 0));
    child = fork();
    if (child == 0) _exit(0);
    say("forks", child);
    errno = pthread_create(&thread, NULL, nothing, NULL);
    say("threads", -errno);
    getrlimit(RLIMIT_CPU, &limit);
    printf("seconds %d\n", (int)limit.rlim_cur);
    execl("/bin/sh", "sh", "-c", "echo shell", (char *)NULL);
    say("becomes", -1);
    return 0;
}
"""
REFUSED = {
    **dict.fromkeys(("connects", "changes", "signals", "forks", "threads"), ("seccomp", errno.EPERM)),
    **dict.fromkeys(("reads", "writes", "becomes"), ("landlock", errno.EACCES)),
}


def test_a_compiled_program_reads_a_request_and_writes_an_answer_and_nothing_else(tmp_path: Path) -> None:
    program, lacks = tmp_path / "program", find_missing_protections()
    program.with_suffix(".c").write_text(PROGRAM)
    subprocess.run([str(COMPILER), str(program.with_suffix(".c")), "-o", str(program), "-pthread"], check=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "secret").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        request = f"{server.getsockname()[1]} {tmp_path}\n".encode()
        inside = run_here(program, request).stdout.split()
        if not lacks:
            with pytest.raises(BlockingIOError):
                server.accept()
            assert not (tmp_path / "written").exists() and (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
        outside = subprocess.run([program], input=request, stdout=subprocess.PIPE, check=True).stdout.split()
    said = dict(zip(inside[::2], map(int, inside[1::2]), strict=True))
    for name, (by, error) in REFUSED.items():
        assert by in lacks or said[name.encode()] == error, name
        assert f"{name}".encode() not in outside or outside[outside.index(name.encode()) + 1] == b"0"
    assert outside[-1] == b"shell"
    assert said[b"seconds"] == MOST_S


def test_a_compiler_writes_into_its_own_folder_only(tmp_path: Path) -> None:
    """One that does, which is called for a program that is to be proved."""
    lacks, compiler, folder = find_missing_protections(), tmp_path / "compiler", tmp_path / "own"
    folder.mkdir()
    marks = "".join(f'true > "{place}"\n' for place in (tmp_path / "mark", folder / "mark"))
    compiler.write_text(f'#!/bin/sh\n{marks}exec {COMPILER} "$@"\n')
    compiler.chmod(0o755)
    source = folder / "net.c"
    source.write_text(
        "#include <stdint.h>\n#define NET_INPUTS 1\n#define NET_CLASSES 1\ntypedef float net_input;\n"
        "static void net_reset(void) {}\nstatic void net_step(const net_input x[], float y[]) { y[0] = x[0]; }\n"
    )
    compile_here(str(compiler), source, "net", folder / "program", ())
    assert (folder / "mark").exists()
    if "landlock" not in lacks:
        assert not (tmp_path / "mark").exists()
    request = b"".join(number.to_bytes(4, "little") for number in (3, 1, 0x40000000))
    assert run_here(folder / "program", request).stdout == request[8:]


def test_what_cannot_be_compiled_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "net.c").write_text("this is no C")
    with pytest.raises(PlifError, match=r"net\.c: .* cannot compile it"):
        compile_here(str(COMPILER), tmp_path / "net.c", "net", tmp_path / "program", ())


def test_where_no_program_may_be_run_from_the_temporary_folder_it_is_one_line(tmp_path: Path) -> None:
    """Here since this compiler makes none that can be run; mostly since the folder is mounted so."""
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\n{COMPILER} "$@"\nfor program; do :; done\nchmod a-x "$program"\n')
    compiler.chmod(0o755)
    with pytest.raises(PlifError, match=r"no program may be run from there; name another folder in \$TMPDIR"):
        make_launcher(str(compiler))

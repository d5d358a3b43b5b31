"""Programs that mean harm, with and without namespaces: each ends in time, says why, and leaves nothing behind."""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from heredity.search.sandbox import SandboxUnavailable, Worker, run_python, syscalls, walls

LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
REFUSED = LIBC + "assert libc.{call} == -1\nraise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))"
# The word before a result can be found by whoever looks for it.
FORGE = (
    "import os, sys\nframe = sys._getframe()\nwhile 'token' not in frame.f_locals: frame = frame.f_back\n"
    "token = frame.f_locals['token']\n"
)
NO = "Permission|not permitted|Read-only|cross-device|No such file"
SYSCALL = {"x86_64": {"ptrace": 101, "clone": 56, "kill": 62}, "aarch64": {"ptrace": 117, "clone": 220, "kill": 129}}[
    platform.machine()
]

# name → (source, what the error says); {secret} is a file outside, {outside} its folder.
HOSTILE = {
    "endless loop": ("while True: pass", "timed out after 1 s"),
    "sleep for ever": ("import time\ntime.sleep(1e6)", "timed out"),
    "stuck in C": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", "timed out"),
    "a lock that nobody opens": ("import threading\na = threading.Lock()\na.acquire()\na.acquire()", "timed out"),
    "signals ignored": (
        "import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n except Exception: pass\n"
        "while True: pass",
        "timed out",
    ),
    "memory bomb": ("x = []\nwhile True: x.append(bytearray(10**7))", "MemoryError"),
    "one huge allocation": ("bytearray(10**13)", "MemoryError"),
    "fork bomb": ("import os\nwhile True: os.fork()", NO),
    "fork bomb that does not give up": ("import os\nwhile True:\n try: os.fork()\n except OSError: pass", "timed out"),
    "raw clone": (REFUSED.format(call=f"syscall({SYSCALL['clone']}, 17, 0, 0, 0, 0)"), NO),
    "raw clone3": (REFUSED.format(call="syscall(435, ctypes.create_string_buffer(88), 88)"), "not implemented"),
    "double fork": (
        "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0: time.sleep(100)\n os._exit(0)",
        NO,
    ),
    "new session": ("import os\nos.setsid()", NO),
    "new group": ("import os\nos.setpgid(0, 0)", NO),
    "shell": ("import subprocess\nsubprocess.run('id; touch {outside}/new', shell=True)", NO),
    "system": ("import os\nassert os.system('touch {outside}/new') == 0", "AssertionError"),
    "exec": ("import os, sys\nos.execv('/bin/sh', ['sh', '-c', 'echo'])", NO),
    "spawn": ("import os\nos.posix_spawn('/bin/sh', ['sh', '-c', 'echo'], {})", NO),
    "multiprocessing": ("import multiprocessing as m\nm.get_context('fork').Process(target=print).start()", NO),
    "thread bomb": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
        "start",
    ),
    "descriptor bomb": ("import os\nwhile True: os.dup(1)", "Too many open files"),
    "one large file": ("f = open('a', 'wb')\nwhile True: f.write(bytes(1 << 20))", "too large|No space|more than 4 MB"),
    "many files": (
        "n = 0\nwhile True:\n n += 1\n open(str(n), 'wb').write(bytes(1 << 20))",
        "No space|more than 4 MB of files",
    ),
    "many empty files": (
        "n = 0\nwhile True:\n n += 1\n open(str(n), 'wb').close()",
        "No space|more than 4 MB|timed|too deep",
    ),
    "folders without end": (
        "import os\nwhile True:\n os.mkdir('d')\n os.chdir('d')",
        "No space|more than 4 MB|timed|too deep",
    ),
    "folder without rights": (
        "import os\nos.mkdir('closed', 0)\nopen('a\\nb', 'w').write('x')\n1 / 0",
        "ZeroDivision|without the rights",
    ),
    "read a secret": ("print(open('{secret}').read())", NO),
    "list a folder": ("import os\nprint(os.listdir('{outside}'))", NO),
    "symlink to a secret": ("import os\nos.symlink('{secret}', 'link')\nprint(open('link').read())", NO),
    "symlinked folder": ("import os\nos.symlink('{outside}', 'link')\nopen('link/new', 'w')", NO),
    "hard link to a secret": ("import os\nos.link('{secret}', 'link')\nprint(open('link').read())", NO),
    "move a secret": ("import os\nos.rename('{secret}', 'mine')", NO),
    "out by dots": ("print(open('../' * 20 + '{secret}').read())", NO),
    "secrets in /etc": ("print(open('/etc/passwd').read())", NO),
    "others' environment": ("print(open('/proc/1/environ').read())", NO),
    "others' memory": ("import os\nprint(open('/proc/%d/mem' % os.getppid(), 'rb'))", NO),
    "own environment of the start": ("print(open('/proc/self/environ').read())", NO),
    "write outside": ("open('{outside}/new', 'w').write('x')", NO),
    "write to /tmp": ("import os\nopen('/tmp/heredity-hostile-%d' % os.getpid(), 'w')", NO),
    "write to shared memory": ("open('/dev/shm/heredity-hostile', 'w')", NO),
    "write into the library": ("import json\nopen(json.__file__, 'a')", NO),
    "overwrite": ("open('{secret}', 'w')", NO),
    "truncate": ("import os\nos.truncate('{secret}', 0)", NO),
    "remove": ("import os\nos.remove('{secret}')", NO),
    "change modes": ("import os\nos.chmod('{secret}', 0o777)", NO),
    "change times": ("import os\nos.utime('{secret}', (1, 1))", NO),
    "change attributes": ("import os\nos.setxattr('{secret}', 'user.a', b'b')", NO),
    "tcp": ("import socket\nsocket.create_connection(('127.0.0.1', 9))", NO),
    "udp": ("import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)", NO),
    "unix socket": ("import socket\nsocket.socket(socket.AF_UNIX)", NO),
    "netlink": ("import socket\nsocket.socket(socket.AF_NETLINK)", NO),
    "socket pair": ("import socket\nsocket.socketpair()", NO),
    "web": ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')", NO),
    "libc's socket": (REFUSED.format(call="socket(2, 1, 0)"), NO),
    "libc's kill": (REFUSED.format(call="kill(os.getppid(), 9)"), NO),
    "raw kill": (REFUSED.format(call=f"syscall({SYSCALL['kill']}, {os.getpid()}, 9)"), NO),
    "pidfd": (REFUSED.format(call="syscall(434, os.getppid(), 0)"), NO),
    "ptrace": (REFUSED.format(call=f"syscall({SYSCALL['ptrace']}, 16, os.getppid(), 0, 0)"), NO),
    "io_uring": (REFUSED.format(call="syscall(425, 8, ctypes.create_string_buffer(120))"), NO),
    "unshare": (REFUSED.format(call="unshare(0x10000000)"), NO),
    "mount": (REFUSED.format(call="mount(b'none', b'/', b'tmpfs', 0, None)"), NO),
    "memory without a limit": (REFUSED.format(call="memfd_create(b'm', 0)"), NO),
    "shared memory that stays": (REFUSED.format(call="shmget(0, 4096, 0o1600)"), NO),
    "a call of the future": (REFUSED.format(call="syscall(1000)"), "not implemented"),
    "outlive the parent": (REFUSED.format(call="prctl(1, 0, 0, 0, 0)"), NO),
    "kill the parent": ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", NO),
    "kill all": ("import os, signal\nos.kill(-1, signal.SIGKILL)", NO),
    "kill the group": ("import os, signal\nos.killpg(0, signal.SIGKILL)", NO),
    "kill the caller": (f"import os\nos.kill({os.getpid()}, 9)", NO),
    "signals by input": ("import os, fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())", NO),
    "kill oneself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
    "abort": ("import os\nos.abort()", "signal SIGABRT"),
    "null pointer": ("import ctypes\nctypes.string_at(0)", "signal SIGSEGV"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "recursion in C without a limit": ("x = ()\nfor _ in range(10**6): x = (x,)\nhash(x)", "SIGSEGV"),
    "flood of stdout": ("while True: print('x' * 1000)", "more than 65536 bytes of output"),
    "flood of stderr": ("import sys\nwhile True: sys.stderr.write('x' * 1000)", "more than 65536 bytes of output"),
    "flood of bytes": ("import os\nwhile True: os.write(1, bytes(range(256)) * 256)", "more than 65536 bytes"),
    "flood at the end": ("print('x' * 10**6)", "more than 65536 bytes of output"),
    "flood of results": ("import os\nwhile True: os.write(3, b'x' * 4096)", "channel of results"),
    "a forged line": ("import os\nos.write(3, b'{\"value\": 1}')", "channel of results"),
    "a forged value that is no JSON": (
        FORGE + "os.write(3, token + b'{\"value\": NaN}')\nos._exit(0)",
        "channel of results",
    ),
    "a forged value, and death": (FORGE + "os.write(3, token + b'{\"value\": 1}')\nos._exit(1)", "exit status 1"),
    "deep forgery": ("import os\nos.write(3, b'[' * 100000)\nos._exit(0)", "channel of results"),
    "close everything": ("import os\nos.closerange(0, 1000)", "ended without a result"),
    "result elsewhere": ("import os\nos.dup2(1, 3)", "ended without a result"),
    "result to nowhere": ("import os\nr, w = os.pipe()\nos.close(r)\nos.dup2(w, 3)", "ended"),
    "exit": ("import sys\nsys.exit(3)", re.escape("sys.exit(3)")),
    "quit": ("quit(2)", re.escape("sys.exit(2)")),
    "hard exit": ("import os\nos._exit(0)", "ended without a result"),
    "keyboard interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "an error that lies": ("class E(BaseException):\n def __str__(self): raise E\nraise E()", "cannot be written"),
    "limits raised": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "not allowed|not permitted|Permission",
    ),
    "limits lowered": ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))", "not permitted|not allowed"),
    "input": ("input()", "EOFError"),
    "syntax": ("def f(:\n pass", r"SyntaxError.*\(line 1\)"),
    "null bytes": ("a = 1\0", "null bytes"),
    "half a character": ("a = '\ud800'\nraise ValueError(a)", "Error"),
    "nested to death": ("(" * 100_000, "SyntaxError|MemoryError|RecursionError|more than 65536 bytes"),
    "the computer's own code": (
        # mov eax, 20 (getpid of the 32-bit table); int 0x80; ret
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
        "signal SIGSYS",
    ),
}
if platform.machine() != "x86_64":
    del HOSTILE["the computer's own code"]


@pytest.fixture(scope="module")
def marker(tmp_path_factory):
    """A word in the command line of every server that this module starts, and so of all that it forks."""
    path = str(tmp_path_factory.mktemp("marker"))
    sys.path.append(path)
    yield path
    sys.path.remove(path)


@pytest.fixture(scope="module")
def worker(marker):
    with Worker() as worker:
        worker.start()
        yield worker


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where runs make their folders; empty afterwards."""
    path = tmp_path / "runs"
    path.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents):  # a run as another user has to be able to walk here
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "outside" / "secret.txt"
    path.parent.mkdir()
    path.write_text("the secret")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    return path


@pytest.fixture
def place(marker, folder, secret):
    return marker, folder, secret


def survivors(marker, worker=None):
    alive = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        known = {worker._process.pid} if worker is not None and worker._process is not None else set()
        if process.info["cmdline"] and any(marker in word for word in process.info["cmdline"]):
            alive += [process.pid] if process.pid not in known else []
    return alive


@pytest.mark.parametrize("namespaces", [True, False], ids=["namespaces", "without"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_end_in_time_with_an_error_and_leave_nothing(name, namespaces, worker, place):
    marker, folder, secret = place
    source, wanted = HOSTILE[name]
    source = source.replace("{secret}", str(secret)).replace("{outside}", str(secret.parent))
    before = secret.stat()
    started = time.monotonic()
    result = run_python(source, timeout_s=1.0, memory_mb=256, disk_mb=4, worker=worker, namespaces=namespaces)
    assert time.monotonic() - started < 2.5
    assert not result.ok and result.value is None
    assert re.search(wanted, result.error), result
    assert "the secret" not in result.stdout + result.stderr + result.error
    assert survivors(marker, worker) == []
    assert list(folder.iterdir()) == []
    after = secret.stat()
    assert secret.read_text() == "the secret" and list(secret.parent.iterdir()) == [secret]
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, before.st_nlink)
    assert not os.path.lexists("/dev/shm/heredity-hostile")


UNWRITABLE = {
    "nan": "float('nan')",
    "infinity": "[1, float('inf')]",
    "set": "{1, 2}",
    "bytes": "b'abc'",
    "object": "object()",
    "function": "f",
    "giant": "'x' * 10**7",
    "a loop": "LOOP",
    "too deep": "DEEP",
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_values_that_json_cannot_write_are_errors(name, worker):
    values = "LOOP = []\nLOOP.append(LOOP)\nDEEP = []\nfor _ in range(10**5): DEEP = [DEEP]\n"
    source = values + f"def f(): return {UNWRITABLE[name]}"
    result = run_python(source, "f", worker=worker)
    assert not result.ok and result.value is None
    assert re.search("as JSON", result.error), result.error


def test_values_come_back_as_json(worker):
    source = "def f(a, b=2): return {'sum': a + b, 'pair': (a, b), 'none': None, 'text': 'é\\ud800'}"
    result = run_python(source, ("f", [1], {"b": 2.5}), worker=worker)
    assert result.ok and result.error == "" and result.value["sum"] == 3.5
    assert result.value == {"sum": 3.5, "pair": [1, 2.5], "none": None, "text": "é\ud800"}


def test_output_and_tracebacks_are_told_apart(worker):
    result = run_python("import sys\nprint('out')\nprint('err', file=sys.stderr)\n1 / 0", worker=worker)
    assert result.stdout == "out\n" and result.error == "ZeroDivisionError: division by zero (line 4)"
    assert result.stderr.startswith("err\nTraceback") and "1 / 0" in result.stderr
    assert "inside.py" not in result.stderr


def test_without_a_call_the_source_is_the_main_module_and_with_one_it_is_not(worker):
    source = "def name(): return __name__\nif __name__ == '__main__': print('main')"
    assert run_python(source, worker=worker).stdout == "main\n"
    assert run_python(source, "name", worker=worker).value == "sandboxed"
    assert run_python("import sys\nsys.exit(0)", worker=worker).ok
    assert "no function 'g'" in run_python(source, "g", worker=worker).error


def test_what_runs_on_after_the_end_does_not_keep_it_waiting(worker):
    source = (
        "import atexit, threading, time\natexit.register(time.sleep, 100)\n"
        "threading.Thread(target=time.sleep, args=(100,)).start()\ndef f(): return 1"
    )
    result = run_python(source, "f", worker=worker)
    assert result.value == 1 and result.seconds < 2


def test_a_run_that_breaks_the_sandboxs_own_functions_harms_itself_only(worker):
    source = "import os, json, sys\nos._exit = os.write = json.dumps = sys.exit = print\ndef f(): return 1"
    assert not run_python(source, "f", worker=worker, timeout_s=1).ok
    assert run_python("def f(): return 1", "f", worker=worker).value == 1


def test_nothing_of_the_caller_is_inherited(worker, monkeypatch, tmp_path):
    monkeypatch.setenv("API_KEY", "the secret")
    held = (tmp_path / "held").open("w")
    os.set_inheritable(held.fileno(), True)
    source = (
        "import os\ndef f():\n    ends = []\n    for n in range(1024):\n        try: os.fstat(n)\n"
        "        except OSError: continue\n        ends.append(n)\n    return [dict(os.environ), ends, os.getcwd()]"
    )
    for one in (worker, None):
        environment, ends, folder = run_python(source, "f", worker=one).value
        assert set(environment) == {"HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS"} and environment["HOME"] == folder
        assert ends == [0, 1, 2, 3]  # input, output, errors, result
    held.close()


def test_a_run_has_a_folder_to_work_in_and_the_next_one_sees_nothing_of_it(worker):
    source = (
        "import os, tempfile\ndef f():\n    seen = os.listdir()\n    open('a', 'w').write('x')\n    os.mkdir('d')\n"
        "    os.rename('a', 'd/b')\n    t = tempfile.NamedTemporaryFile()\n    return [seen, open('d/b').read()]"
    )
    for namespaces in (True, False):
        for _ in range(2):
            assert run_python(source, "f", worker=worker, namespaces=namespaces).value == [[], "x"]


def test_what_is_thrown_away_may_be_written(worker):
    assert run_python("open('/dev/null', 'w').write('x')", worker=worker).ok


def test_runs_of_a_worker_do_not_see_one_another(worker):
    run_python("import json\njson.marker = 1", worker=worker)
    assert run_python("import json\ndef f(): return hasattr(json, 'marker')", "f", worker=worker).value is False


def test_a_preloaded_function_is_given_the_sources_module(tmp_path, monkeypatch):
    (tmp_path / "judging.py").write_text("def judge(module, x, times=1): return module.f(x) * times")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Worker(["judging"]) as worker:
        result = run_python("def f(x): return x + 1", ("judging:judge", [1], {"times": 3}), worker=worker)
        assert result.value == 6, result
        assert "judging" in run_python("import sys\nprint(sorted(sys.modules))", worker=worker).stdout


def test_more_folders_can_be_made_readable_but_not_writable(secret):
    with Worker(readable=[secret.parent]) as worker:
        assert run_python(f"def f(): return open({str(secret)!r}).read()", "f", worker=worker).value == "the secret"
        assert "Permission" in run_python(f"open({str(secret)!r}, 'a')", worker=worker).error


def test_a_server_that_was_killed_is_started_again(marker, worker):
    with Worker() as own:
        assert run_python("", worker=own).ok
        os.kill(own._process.pid, signal.SIGKILL)
        own._process.wait()
        assert run_python("", worker=own).ok
    assert survivors(marker, worker) == []


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_server_killed_during_a_run_is_an_error_and_everything_dies_with_it(marker, worker, namespaces):
    with Worker() as own:
        own.start()
        server = own._process
        killer = threading.Timer(0.5, server.kill)
        killer.start()
        with pytest.raises(SandboxUnavailable, match="ended unexpectedly"):
            run_python("while True: pass", worker=own, timeout_s=30, namespaces=namespaces)
        killer.join()
    deadline = time.monotonic() + 5
    while survivors(marker, worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert survivors(marker, worker) == []


@pytest.mark.parametrize("namespaces", [True, False])
def test_a_caller_that_dies_takes_its_runs_and_their_folders_along(marker, namespaces, folder):
    code = (
        "import os, sys, threading\nfrom heredity.search.sandbox import run_python\n"
        f"threading.Timer(1.0, os._exit, [0]).start()\nsys.path.append({marker + 'caller'!r})\n"
        f'run_python(\'open("a", "w")\\nwhile True: pass\', timeout_s=60, namespaces={namespaces})'
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20, env={**os.environ, "TMPDIR": str(folder)})
    deadline = time.monotonic() + 5
    while (survivors(marker + "caller") or list(folder.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert survivors(marker + "caller") == [] and list(folder.iterdir()) == []


def test_a_module_that_cannot_be_preloaded_is_named():
    with pytest.raises(SandboxUnavailable, match="cannot import no_such_module"):
        run_python("", worker=Worker(["no_such_module"]))


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"timeout_s": float("nan")}, {"memory_mb": 0}, {"threads": -1}])
def test_limits_have_to_be_positive(wrong):
    with pytest.raises(ValueError, match="positive"):
        run_python("", **wrong)


def test_arguments_have_to_be_json(worker):
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        run_python("def f(x): pass", ("f", [object()]), worker=worker)


def test_walls_that_are_missing_refuse_unless_weakness_is_allowed(tmp_path, monkeypatch):
    """A module that makes the server believe that the kernel has no filters stands for such a kernel."""
    (tmp_path / "no_filters.py").write_text(
        "from heredity.search.sandbox import syscalls\nsyscalls.supported = lambda: False\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Worker(["no_filters"]) as worker:
        with pytest.raises(SandboxUnavailable, match=r"wall is missing: calls: no seccomp filters"):
            run_python("print(1)", worker=worker)
        result = run_python("print(1)", worker=worker, allow_weak=True)
        assert result.stdout == "1\n" and "calls" not in result.walls and "files" in result.walls


@pytest.mark.parametrize("namespaces", [True, False])
def test_without_filters_what_was_forked_dies_with_the_run(tmp_path, monkeypatch, namespaces, marker):
    """The second line: orphans in other sessions are found and killed where nothing kept them from being made."""
    (tmp_path / "no_filters.py").write_text(
        "from heredity.search.sandbox import syscalls\nsyscalls.supported = lambda: False\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    source = (
        "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            time.sleep(100)\n        os._exit(0)\nprint('forked')"
    )
    with Worker(["no_filters"]) as worker:
        started = time.monotonic()
        result = run_python(source, worker=worker, allow_weak=True, namespaces=namespaces)
        assert result.stdout == "forked\n" and time.monotonic() - started < 5
        mine = [pid for pid in survivors(marker) if pid != worker._process.pid]
        assert [pid for pid in mine if "no_filters" in " ".join(psutil.Process(pid).cmdline())] == []


def test_all_walls_stand_here(worker):
    assert {"limits", "privileges", "files", "calls"} <= set(run_python("", worker=worker).walls)
    assert walls.landlock_version() >= 1 and syscalls.supported()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filters_are_short_enough_and_jump_inside_themselves(machine):
    code = syscalls.program(machine, 1)
    steps = [code[i : i + 8] for i in range(0, len(code), 8)]
    assert len(steps) < 4096  # BPF_MAXINSNS
    for place, step in enumerate(steps):
        kind, if_true, if_false = int.from_bytes(step[:2], "little"), step[2], step[3]
        if kind & 7 == 5:  # a jump
            assert place + 1 + max(if_true, if_false) < len(steps)
    assert steps[-1] == (0x06).to_bytes(2, "little") + b"\0\0" + (0x7FFF0000).to_bytes(4, "little")


def test_refused_calls_have_the_kernels_numbers():
    """Against the C library's header, where it is installed."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("no kernel headers")
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    for calls in syscalls.REFUSED.values():
        for name, (number, _) in calls.items():
            assert known.get(name, str(number)) == str(number), name

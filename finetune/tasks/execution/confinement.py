"""What the sandbox's process does before it becomes the program: this file is run, not imported.

It needs Linux, ctypes and the standard library. In order: a user namespace of its own; in it new
mount, process, network and IPC namespaces; a file system that holds Python, read-only, and one
small empty folder in memory; process 1 of the new namespace, which only waits, so that all ends
with it; below it a child with limits; and `exec`, with which all privileges are gone.

The request is JSON on standard input, the answer is bytes on standard output: that of the program's
harness, or "TOKEN refused: reason" where the kernel does not allow one of the steps.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

# From Linux's headers: sched.h, mount.h, prctl.h, and the number that all architectures share.
NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
MNT_DETACH = 2
PDEATHSIG, NO_NEW_PRIVS = 1, 38
NOBODY = 65534
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64")
RESULT, REQUEST = 3, 4
"""File descriptors of the harness."""

# Runs as a program of its own. The token goes out when the last line was reached, and only then:
# leaving early, by sys.exit or os._exit, says nothing.
HARNESS = f"""
def main():
    import json, os
    with os.fdopen({REQUEST}) as file:
        request = json.load(file)
    source, token = request["program"], request["token"].encode()
    del request, file
    say, leave = os.write, os._exit
    try:
        exec(compile(source, "program", "exec"), {{"__name__": "program"}})
    except BaseException as error:
        token = type(error).__name__.encode()
    say({RESULT}, token)
    leave(0)
main()
"""

libc = ctypes.CDLL(None, use_errno=True)


def called(what: str, result: int) -> None:
    """Raises OSError where a function of the C library did not return 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(what: str, source: str | None, target: str, kind: str | None, flags: int, data=None):
    """mount(2)."""
    given = [None if text is None else text.encode() for text in (source, target, kind, data)]
    source, target, kind, data = given
    called(what, libc.mount(source, target, kind, ctypes.c_ulong(flags), data))


def frozen(path: str) -> None:
    """Makes a mount and all below it read-only, without devices and privileged programs."""
    attributes = (ctypes.c_uint64 * 4)(ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV, 0, 0, 0)
    result = libc.syscall(
        ctypes.c_long(MOUNT_SETATTR),
        ctypes.c_long(AT_FDCWD),
        path.encode(),
        ctypes.c_long(AT_RECURSIVE),
        attributes,
        ctypes.c_long(32),
    )
    called("mount_setattr", result)


def own_users() -> None:
    """A user namespace in which we are nobody, or, as root, root with nobody to become.

    As root alone can limit root's processes in no way, it has to become somebody else, whose id
    only a process outside the namespace can give it.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid != 0:
        called("unshare(user)", libc.unshare(NEWUSER))
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
        write("/proc/self/gid_map", f"{NOBODY} {gid} 1")
        return
    ready, write_end = os.pipe()
    target, helper = os.getpid(), os.fork()
    if helper == 0:
        status = 1
        try:
            os.close(write_end)
            if os.read(ready, 1):
                for name in ("uid_map", "gid_map"):
                    write(f"/proc/{target}/{name}", f"0 0 1\n{NOBODY} {NOBODY} 1")
                status = 0
        finally:
            os._exit(status)
    os.close(ready)
    try:
        called("unshare(user)", libc.unshare(NEWUSER))
        os.write(write_end, b"x")
    finally:
        os.close(write_end)
        _, status = os.waitpid(helper, 0)
    if status != 0:
        raise OSError("the user nobody cannot be given to a user namespace")


def write(path: str, text: str) -> None:
    """Writes a file of /proc in one call, as it demands."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def own_files(root: str, python: list[str], size: int) -> None:
    """Makes `root` the file system: Python read-only, and /work, `size` bytes in memory."""
    mount("mount /", None, "/", None, MS_REC | MS_PRIVATE)
    quiet = MS_NOSUID | MS_NODEV
    mount("mount root", "tmpfs", root, "tmpfs", quiet, "size=64k,mode=755")
    for path in dict.fromkeys((*SYSTEM, *python)):
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path) and not os.path.isdir(root + path):
            os.makedirs(root + path)
            mount(f"bind {path}", path, root + path, None, MS_BIND | MS_REC)
            frozen(root + path)
    os.mkdir(root + "/work")
    mount("mount work", "tmpfs", root + "/work", "tmpfs", quiet, f"size={size},mode=777")
    os.chdir(root)
    called("pivot_root", libc.pivot_root(b".", b"."))
    called("umount", libc.umount2(b".", MNT_DETACH))
    os.chdir("/work")


def become(request: dict, files: tuple[int, int]) -> None:
    """In the child: gives all up and becomes the harness."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    called("prctl", libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0))
    null, result = files
    message = os.open("request", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink("request")
    content = json.dumps({name: request[name] for name in ("program", "token")}).encode()
    with os.fdopen(os.dup(message), "wb") as file:
        file.write(content)
    os.lseek(message, 0, os.SEEK_SET)
    os.dup2(result, 10)
    os.dup2(message, 11)
    for place in (0, 1, 2):
        os.dup2(null, place)
    os.dup2(10, RESULT)
    os.dup2(11, REQUEST)
    os.closerange(REQUEST + 1, 256)
    for name, value in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    python = request["executable"]
    os.execve(python, [python, "-I", "-S", "-B", "-c", HARNESS], {})


def mortal() -> None:
    """Dies with the parent; to be called behind any change of user, which would undo it."""
    called("prctl", libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def main() -> None:
    """Reads the request and stays until the program has ended."""
    result, token = os.dup(1), ""
    try:
        request = json.load(sys.stdin.buffer)
        token = request["token"]
        null = os.open("/dev/null", os.O_RDWR)
        own_users()
        called("unshare", libc.unshare(NEWNS | NEWPID | NEWNET | NEWIPC | NEWUTS))
        mortal()
        own_files(os.getcwd(), request["python"], request["size"])
        first = os.fork()
        if first == 0:
            # Process 1 of the namespace: no program below it can end it, or outlive it.
            mortal()
            child = os.fork()
            if child == 0:
                become(request, (null, result))
        else:
            child = first
            # Process 1 keeps them: the pipe's reader knows by its end that all are gone.
            os.close(result)
            os.close(1)
        os.waitpid(child, 0)
        os._exit(0)
    except Exception as error:
        os.write(result, f"{token} refused: {error}".encode())
        os._exit(1)


if __name__ == "__main__":
    main()

"""Child processes that never outlive their parent: started, watched, ended by process id.

Why this file exists: a devnet is many real processes, and nothing of it may stay behind, whether it ends well, by
Ctrl-C, by an exception or by SIGKILL (then Linux ends the children for us). Never in here: what the processes do.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from oracle.errors import LocalFault

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STOP_S = 5.0
TAIL_LINES = 12
ROOT = Path(__file__).resolve().parents[1]


class ProcessDied(LocalFault):
    """A child process ended when it should be running. Shows the end of its log."""


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of 127.0.0.1 that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def die_with_parent() -> None:
    """In the child, before exec: ask Linux for SIGKILL when the parent is gone."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One Python process in its own process group, with its output in a log file."""

    __slots__ = ("_process", "log", "name")

    def __init__(self, name: str, log: Path, process: asyncio.subprocess.Process) -> None:
        self.name, self.log, self._process = name, log, process

    @classmethod
    async def start(
        cls, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None,
        *, piped: bool = False,
    ) -> Child:  # fmt: skip
        """Run `python *arguments`, appending to `log`. `piped`: standard output is read with `line` instead."""
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
                process_group=0,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        return cls(name, log, process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def line(self, timeout_s: float) -> bytes:
        """Next line of a piped output. Raises ProcessDied if it ends or stays silent."""
        assert self._process.stdout is not None
        try:
            found = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
            if not found:
                await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            found = b""
        if not found:
            raise self.died()
        return found

    def died(self) -> ProcessDied:
        """The error that tells how it ended, with the end of its log."""
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        state = "is silent" if self.running else f"ended with code {self._process.returncode}"
        return ProcessDied(f"{self.name} {state}; the end of {self.log}:\n  " + "\n  ".join(tail))

    async def kill(self) -> None:
        """SIGKILL: a crash. Returns when it is gone."""
        if self.running:
            self._process.kill()
        await self._process.wait()

    async def stop(self, timeout_s: float = STOP_S) -> None:
        """SIGTERM, and SIGKILL when that is not heeded in time. Returns when it is gone."""
        if self.running:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            await self.kill()

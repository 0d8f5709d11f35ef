"""How many full checks a second, and what they would cost done otherwise.

    python benchmarks/checks.py --out benchmarks/checks.json --plot docs/results/checks.svg

A full check runs a solution and three failure cases, each followed by the verifier, and the
verifier on the untouched state: nine pieces of code, about 1 MB of JSON as state, two workers. The
same pieces are timed in four ways, interleaved, and medians are given:

- `ours`: every piece in a process of its own, at the isolation level of this machine;
- `subprocess`: one fresh `python -I -S` per piece, which loads the state and sends it back;
- `bwrap`: the same under `bwrap --unshare-all`, where it is installed;
- `exec`: no protection, `exec` on a deep copy of the state in the same process.

Also: a tool call there and back, a fresh state, both against the size of the state, and memory over
many checks. `--rounds 2 --many 200` shows in short whether everything works; `--only memory` does
that part anew, which takes over an hour, and leaves the rest of `--out` as it was.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from checks_shop import MEGABYTE, orders

from selfchallenge.environments.loading import load_environment
from selfchallenge.sandbox.host import Sandbox

WORKERS = 2
SIZES = (10 << 10, 100 << 10, MEGABYTE, 10 * MEGABYTE, 50 * MEGABYTE)
Shop = load_environment(f"{Path(__file__).with_name('checks_shop.py')}:Shop")
SOLUTION = "cancel('W7')\nset_count('W9', 3)"
FAILURES = ("cancel('W7')", "cancel('W8')\nset_count('W9', 3)", "get('W7')")
VERIFIER = """
def evaluate(answer):
    return get('W7')['status'] == 'cancelled' and get('W9')['count'] == 3
"""
EXPECTED = [True, False, False, False, False]


# -- the ways --------------------------------------------------------------------------------------


def ours(sandbox: Sandbox, seed: str) -> list[bool]:
    """Every piece of code in a process of its own, on a state of its own."""
    verdicts = []
    for code in (SOLUTION, *FAILURES, None):
        with sandbox.session(Shop, seed) as session:
            answer = sandbox.execute(code, session).answer if code else None
            verdicts.append(sandbox.evaluate(VERIFIER, answer, session).passed)
    return verdicts


TOOLS = """
def get(order): return state[order]
def cancel(order):
    state[order]["status"] = "cancelled"
    return "done"
def set_count(order, count):
    state[order]["count"] = count
    return count
"""
PIECE = f"""
import json, sys
asked = json.loads(sys.stdin.read())
state = asked["state"]
{TOOLS}
exec(asked["code"])
judging = asked["judging"]
print(json.dumps({{"passed": evaluate(None) is True}} if judging else {{"state": state}}))
"""


def in_processes(prefix: list[str], state: dict[str, Any]) -> list[bool]:
    """One fresh interpreter per piece; the state goes in as JSON, and out for the verifier."""

    def piece(code: str, now: dict[str, Any], *, judging: bool) -> dict[str, Any]:
        given = json.dumps({"code": code, "state": now, "judging": judging})
        command = [*prefix, sys.executable, "-I", "-S", "-c", PIECE]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    verdicts = []
    for code in (SOLUTION, *FAILURES, None):
        after = piece(code, state, judging=False)["state"] if code else state
        verdicts.append(bool(piece(VERIFIER, after, judging=True)["passed"]))
    return verdicts


def unprotected(state: dict[str, Any]) -> list[bool]:
    """`exec` in this process, on deep copies."""
    verdicts = []
    for code in (SOLUTION, *FAILURES, None):
        space: dict[str, Any] = {"state": copy.deepcopy(state)}
        exec(TOOLS, space)
        if code:
            exec(code, space)
        space["state"] = copy.deepcopy(space["state"])
        exec(VERIFIER, space)
        verdicts.append(space["evaluate"](None) is True)
    return verdicts


def bwrap_prefix() -> list[str] | None:
    found = shutil.which("bwrap")
    if found is None:
        return None
    shared = ["--ro-bind", "/", "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    return [found, "--unshare-all", "--die-with-parent", *shared]


# -- measuring -------------------------------------------------------------------------------------


def rate(check: Callable[[], list[bool]], *, threads: int = WORKERS, each: int = 2) -> float:
    """Checks a second, `threads` at a time."""
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(lambda _: check() == EXPECTED, range(threads * each)))
    assert all(done)
    return threads * each / (time.perf_counter() - started)


def forked_rate(check: Callable[[], list[bool]], *, each: int = 2) -> float:
    """The same with a process per worker, for code that would hold the interpreter's lock."""
    started = time.perf_counter()
    pids = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            good = all(check() == EXPECTED for _ in range(each))
            os._exit(0 if good else 1)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    return WORKERS * each / (time.perf_counter() - started)


def throughput(sandbox: Sandbox, rounds: int) -> dict[str, Any]:
    """Full checks a second by way; one figure a round, all ways in every round."""
    state, seed = orders(MEGABYTE), str(MEGABYTE)
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: rate(lambda: ours(sandbox, seed), each=10),
        "subprocess": lambda: rate(lambda: in_processes([], state), each=1),
        "exec": lambda: forked_rate(lambda: unprotected(state), each=10),
    }
    prefix = bwrap_prefix()
    if prefix is not None:
        ways["bwrap"] = lambda: rate(lambda: in_processes(prefix, state), each=1)
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            seen[name].append(way())
    medians = {name: round(statistics.median(values), 2) for name, values in seen.items()}
    return {
        "checks_per_second": medians,
        "all": {name: [round(value, 2) for value in values] for name, values in seen.items()},
        "times_subprocess": round(medians["ours"] / medians["subprocess"], 2),
        "share_of_exec": round(medians["ours"] / medians["exec"], 3),
    }


def milliseconds(action: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return round(1000 * statistics.median(found), 4)


def by_size(sandbox: Sandbox, size: int, times: int) -> dict[str, float]:
    """What a state of this size costs, in milliseconds."""
    seed = str(size)
    with sandbox.session(Shop, seed) as session:
        call = milliseconds(lambda: session.call("get", ["W7"]), times * 20)
        with sandbox.cell(session) as cell:
            code = "import time\nt = time.perf_counter()\nfor _ in range(200): get('W7')\n"
            done = cell.run(f"{code}answer = (time.perf_counter() - t) / 200")
        changed = milliseconds(lambda: (session.value("cancel", ["W7"]), session.changed()), times)
        digest = milliseconds(lambda: (session.value("cancel", ["W7"]), session.digest()), times)
    return {
        "bytes": len(json.dumps(orders(size))),
        "call_from_host": call,
        "call_from_code": round(1000 * float(done.answer), 4),
        "fresh_state": milliseconds(lambda: sandbox.session(Shop, seed).close(), times),
        "changed": changed,
        "digest": digest,
        "full_check": milliseconds(lambda: ours(sandbox, seed), max(2, times // 4)),
    }


def resident(pids: list[int]) -> int:
    """Resident memory of processes, in KiB."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") // 1024


def memory(sandbox: Sandbox, many: int) -> dict[str, Any]:
    """Resident memory of this process and of the zygotes while many checks are made."""
    seed, points = str(10 << 10), []
    zygotes = [*sandbox._code.values(), *sandbox._environments.values()]  # noqa: SLF001
    started = [zygote._process.pid for zygote in zygotes]  # noqa: SLF001
    pids = [os.getpid(), *started]
    if sandbox.isolation == "A":  # what was started waits for the real zygote, its one child
        for zygote in sandbox._code.values():  # noqa: SLF001
            pid = zygote._process.pid  # noqa: SLF001
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    step = max(1, many // 20)
    for done in range(0, many + 1, step):
        points.append({"checks": done, "kib": resident(pids)})
        print(f"memory: {done} checks, {points[-1]['kib']} KiB", file=sys.stderr, flush=True)
        for _ in range(step if done < many else 0):
            ours(sandbox, seed)
    settled = points[len(points) // 4]["kib"]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "checks": many,
        "grown_kib": points[-1]["kib"] - settled,
        "points": points,
    }


# -- telling ---------------------------------------------------------------------------------------


def plot(found: dict[str, Any]) -> str:
    """Bars of the checks a second, as SVG without any library."""
    medians = sorted(found["throughput"]["checks_per_second"].items(), key=lambda item: -item[1])
    scale = 420 / medians[0][1]
    rows = []
    for place, (name, value) in enumerate(medians):
        y = 40 + 34 * place
        rows += [
            f'<text x="100" y="{y + 16}" text-anchor="end">{name}</text>',
            f'<rect x="110" y="{y}" width="{max(1, value * scale):.0f}" height="22"/>',
            f'<text x="{116 + value * scale:.0f}" y="{y + 16}">{value}</text>',
        ]
    height = 50 + 34 * len(medians)
    title = f"full checks a second, level {found['isolation']}, {WORKERS} workers"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="620" height="{height}" '
        'font-family="sans-serif" font-size="14" fill="#356">'
        f'<text x="110" y="22" font-weight="bold">{title}</text>{"".join(rows)}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    here = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    parser.add_argument("--machine", default=here, help="what the machine is, in words")
    parser.add_argument("--only", choices=["memory"], default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None)
    asked = parser.parse_args()
    if asked.only and not (asked.out and asked.out.is_file()):
        parser.error("--only needs the --out of a whole measurement")
    with Sandbox() as sandbox:
        if asked.only:
            found = json.loads(asked.out.read_text())
            ours(sandbox, str(10 << 10))
            found["memory"] = memory(sandbox, asked.many)
            asked.out.write_text(f"{json.dumps(found, indent=1)}\n")
            return
        sizes = [size for size in SIZES if size <= asked.largest]
        found = {
            "isolation": sandbox.isolation,
            "machine": asked.machine,
            "date": time.strftime("%Y-%m-%d"),
            "python": platform.python_version(),
            "throughput": throughput(sandbox, asked.rounds),
            "by_size_ms": [by_size(sandbox, size, asked.rounds) for size in sizes],
            "memory": memory(sandbox, asked.many),
        }
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(f"{text}\n")
    if asked.plot:
        asked.plot.write_text(plot(found))


if __name__ == "__main__":
    main()

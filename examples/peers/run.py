"""Measures `ruminate` and other tools on the same work, in turns, and prints the tables of examples/BENCHMARKS.md.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install -r examples/peers/requirements.txt
    cargo build --release
    /tmp/peers/bin/python examples/peers/run.py [--part rows|chain|edit|large]... [--rows N] [--turns N]

A tool that is not installed is named and left out. distilabel pins old libraries: give it a folder of its own by --distilabel PYTHON.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import chains
import rows

HERE = Path(__file__).resolve().parent
RUMINATE = Path(os.environ.get("RUMINATE", HERE.parent.parent / "target/release/ruminate"))
FILTERS = ("score >= 0.5", 'lang == \\"en\\"', "text | length < 120")


@dataclass
class Measured:
    """What a tool needed, over its turns."""

    name: str
    version: str
    records: int = 0
    whole: list[float] = field(default_factory=list)
    """Seconds of the process, start to exit."""
    work: list[float] = field(default_factory=list)
    """Seconds of the work as the tool's script took them: imports and the start of workers left out."""
    memory: int = 0
    """Most bytes that one of its processes held."""


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> tuple[float, int, str]:
    """Seconds, the most memory of one process in bytes, and what it printed."""
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        begin = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, stdout=printed, stderr=said, env={**os.environ, **(environment or {})})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0), said.seek(0)
        output = printed.read()
        if child.returncode != 0:
            raise RuntimeError(f"{command} failed with {child.returncode}:\n{output[-2000:]}\n{said.read()[-4000:]}")
        return seconds, usage.ru_maxrss * 1024, output


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def ids(folder: Path) -> list[int]:
    """The ids of the rows in the JSON lines of a folder, in order of size: what a tool kept."""
    lines = (line for path in folder.rglob("*.json*") for line in path.open(encoding="utf-8"))
    return sorted(int(json.loads(line)["id"]) for line in lines)


def ours(folder: Path, files: list[Path]) -> Path:
    """The graph of the three filters."""
    tables = [f'name = "filter"\n[nodes.n0]\nkind = "read"\npath = {json.dumps([str(path) for path in files])}\n']
    tables += [
        f'[nodes.n{node}]\nkind = "where"\ninput = "n{node - 1}"\ncondition = "{condition}"\n'
        for node, condition in enumerate(FILTERS, 1)
    ]
    tables.append('[nodes.written]\nkind = "write"\ninput = "n3"\npath = "out/rows.jsonl"\n')
    graph = folder / "filter.toml"
    graph.write_text("\n".join(tables))
    return graph


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed: left out", file=sys.stderr)
        return None


def our_version() -> str:
    return subprocess.run([RUMINATE, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


def filters(folder: Path, count: int, turns: int, distilabel: str | None) -> list[Measured]:
    """Every tool over the same rows, cold, in turns; ours and `datasets`, which cache, once more after each cold run."""
    parts = {workers: [folder / f"data-{workers}/{part}.jsonl" for part in range(workers)] for workers in (1, 2)}
    for files in parts.values():
        fresh(files[0].parent)
        rows.write([str(path) for path in files], count)
    peers = [("duckdb", "duckdb", "duckdb"), ("datatrove", "datatrove", "datatrove")]
    peers += [("Ray Data, expressions", "ray", "ray"), ("Ray Data, functions", "ray", "ray_rows")]
    tools = [
        (Measured(f"{name}, {workers} worker{'s' * (workers > 1)}", found, count), script, workers, sys.executable)
        for name, package, script in peers
        if (found := version(package))
        for workers in (1, 2)
    ]
    graph, out = ours(folder, parts[1]), folder / "out"
    names = ("cold", "cached, the file written again", "cached")
    mine, again, untouched = (Measured(f"ruminate, {name}", our_version(), count) for name in names)
    caching = [Measured(f"datasets, {name}, 1 worker", found, count) for name in ("cold", "cached")] if (found := version("datasets")) else []
    expected = None
    for _ in range(turns):
        store = fresh(folder / "store")
        for measured in (mine, again, untouched):
            if measured is not untouched:
                fresh(out)
            note(measured, *run([str(RUMINATE), "run", str(graph), "--store", str(store), "--quiet"], folder)[:2])
            expected = check(measured, out, expected)
        for measured in caching:
            home = fresh(folder / "hf") if measured is caching[0] else folder / "hf"
            peer(measured, "datasets", 1, sys.executable, fresh(out), parts[1], {"HF_HOME": str(home)})
            expected = check(measured, out, expected)
        for tool in list(tools):
            measured, script, workers, python = tool
            try:
                peer(measured, script, workers, python, fresh(out), parts[workers], {})
            except RuntimeError as error:
                # Ray's start has a deadline that a busy machine misses.
                print(f"{measured.name}: left out, it failed: {error}", file=sys.stderr)
                tools.remove(tool)
                continue
            expected = check(measured, out, expected)
    if distilabel:
        # A tenth of the rows, once: it takes as long as the others do for all.
        few = folder / "few" / "0.jsonl"
        rows.write([str(fresh(few.parent) / few.name)], count // 10)
        found = run([distilabel, "-c", "import importlib.metadata as m; print(m.version('distilabel'))"], folder)[2].strip()
        tools.append((Measured("distilabel, a tenth of the rows", found, count // 10), "distilabel", 1, distilabel))
        peer(tools[-1][0], "distilabel", 1, distilabel, fresh(out), [few], {"HF_HOME": str(folder / "hf")})
    return [mine, again, untouched, *caching, *(measured for measured, *_ in tools)]


def peer(measured: Measured, script: str, workers: int, python: str, out: Path, files: list[Path], more: dict[str, str]) -> None:
    command = [python, str(HERE / f"filter_{script}.py"), str(workers), str(out), *map(str, files)]
    seconds, memory, printed = run(command, out.parent, more)
    note(measured, seconds, memory)
    measured.work.append(float(printed.split()[-1]))
    shutil.rmtree(f"{out}-log", ignore_errors=True)


def note(measured: Measured, seconds: float, memory: int) -> None:
    measured.whole.append(seconds)
    measured.memory = max(measured.memory, memory)
    print(f"{measured.name}: {seconds:.2f} s, {memory >> 20} MiB, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


def check(measured: Measured, out: Path, expected: list[int] | None) -> list[int]:
    """All tools must keep the same rows."""
    found = ids(out)
    if expected is not None and found != expected:
        raise RuntimeError(f"{measured.name} kept {len(found)} rows, the first tool {len(expected)}")
    return found


def print_filters(measured: list[Measured]) -> None:
    print("\n| tool | version | records/s, whole process | records/s, work alone | ours is faster by | memory of the largest process |")
    print("|---|---|---|---|---|---|")
    reference = {name: max(one.records / min(one.whole) for one in measured if one.name == name) for name in ("ruminate, cold", "ruminate, cached, the file written again")}
    for one in measured:
        whole, work = one.records / min(one.whole), one.records / min(one.work or one.whole)
        against = reference["ruminate, cached, the file written again" if "cached" in one.name else "ruminate, cold"]
        ratio = "" if one.name.startswith("ruminate") else f"{against / whole:.1f}x; {against / work:.1f}x"
        print(f"| {one.name} | {one.version} | {whole:,.0f} | {work:,.0f} | {ratio} | {one.memory >> 20} MiB |")


def chain(folder: Path, nodes: int, turns: int) -> None:
    """A chain of nodes of which all is up to date, as a whole process, in turns."""
    bin_folder = Path(sys.executable).parent
    table = {
        "ruminate": ([str(RUMINATE), "run", "graph.toml", "--store", "store", "--quiet"],) * 2,
        "ninja": ([str(bin_folder / "ninja")],) * 2,
        "snakemake": ([str(bin_folder / "snakemake"), "-c2", "-q", "all"],) * 2,
        "hamilton": ([sys.executable, str(HERE / "chains.py"), "hamilton-run", str(nodes), "."],) * 2,
        "dvc": ([str(bin_folder / "dvc"), "repro", "-q"],) * 2,
    }
    packages = {"hamilton": "sf-hamilton"}
    found = {tool: our_version() if tool == "ruminate" else version(packages.get(tool, tool)) for tool in table}
    measured = {}
    for tool, (first, _) in table.items():
        if not found[tool]:
            continue
        # DVC needs minutes for a chain of a thousand: a tenth of it, and said so.
        count = nodes // 10 if tool == "dvc" else nodes
        place = fresh(folder / f"chain-{tool}")
        getattr(chains, tool)(count, place)
        if tool == "dvc":
            run([str(bin_folder / "dvc"), "init", "--no-scm", "-q"], place)
        try:
            seconds, memory, _ = run(first, place)
        except RuntimeError as error:
            print(f"{tool}: left out, a chain of {count} failed: {error}", file=sys.stderr)
            continue
        measured[tool] = Measured(f"{tool}, {count} nodes", found[tool], count, memory=memory)
        print(f"{tool}, first run: {seconds:.2f} s", file=sys.stderr)
    for _ in range(turns):
        for tool, one in measured.items():
            # The slow ones are slow enough that three turns tell.
            if len(one.whole) < 3 or statistics.median(one.whole) < 1:
                note(one, *run(table[tool][1], folder / f"chain-{tool}")[:2])
    print("\n| tool | version | again, median | again, best | of runs | per node | memory |\n|---|---|---|---|---|---|---|")
    for one in measured.values():
        median, best = statistics.median(one.whole), min(one.whole)
        each = f"{1e6 * best / one.records:,.0f} us"
        print(f"| {one.name} | {one.version} | {1e3 * median:,.0f} ms | {1e3 * best:,.0f} ms | {len(one.whole)} | {each} | {one.memory >> 20} MiB |")


def edit(folder: Path, turns: int, count: int = 100_000) -> None:
    """One row of many edited."""
    data = fresh(folder / "edit") / "rows.jsonl"
    rows.write([str(data)], count)
    graph, lines = ours(data.parent, [data]), data.read_text(encoding="utf-8").splitlines(keepends=True)
    command = [str(RUMINATE), "run", str(graph), "--store", str(data.parent / "store"), "--quiet"]
    run(command, data.parent)
    one = Measured(f"one row of {count:,} edited, rerun", our_version(), count)
    for turn in range(turns):
        place = (turn * 7919 + count // 2) % count
        lines[place] = lines[place].replace('"text": "', f'"text": "edited {turn} ')
        data.write_text("".join(lines), encoding="utf-8")
        note(one, *run(command, data.parent)[:2])
    median = statistics.median(one.whole)
    print(f"\n{one.name}: median {median:.2f} s, best {min(one.whole):.2f} s of {turns}; {one.memory >> 20} MiB")


def large(folder: Path, count: int) -> None:
    """Ours alone over many more rows: what matters is the memory."""
    print("\n| rows | | seconds | records/s | memory |\n|---|---|---|---|---|")
    for rows_count in (count, 10 * count):
        data = fresh(folder / "large") / "rows.jsonl"
        rows.write([str(data)], rows_count)
        graph = ours(data.parent, [data])
        for name in ("cold", "cached"):
            fresh(data.parent / "out")
            seconds, memory, _ = run([str(RUMINATE), "run", str(graph), "--store", str(data.parent / "store"), "--quiet"], data.parent)
            print(f"| {rows_count:,} | {name} | {seconds:.2f} | {rows_count / seconds:,.0f} | {memory >> 20} MiB |", flush=True)
        shutil.rmtree(data.parent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=["rows", "chain", "edit", "large"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--distilabel", metavar="PYTHON")
    arguments = parser.parse_args()
    parts = arguments.part or ["rows", "chain", "edit", "large"]
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{date.today()}, {os.cpu_count()} cores, {cpu}, load {os.getloadavg()[0]:.1f} before, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if "rows" in parts:
            print_filters(filters(folder, arguments.rows, arguments.turns, arguments.distilabel))
        if "chain" in parts:
            chain(folder, arguments.nodes, 4 * arguments.turns)
        if "edit" in parts:
            edit(folder, arguments.turns)
        if "large" in parts:
            large(folder, arguments.rows)


if __name__ == "__main__":
    main()

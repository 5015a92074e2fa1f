"""The same chain of nodes for each tool that runs chains: a first file, and then each node makes its file from the one before.

Usage: `chains.py TOOL NODES FOLDER` writes the tool's files into FOLDER; `chains.py hamilton-run NODES FOLDER` runs Hamilton.
"""

import sys
from pathlib import Path


def ninja(nodes: int, folder: Path) -> None:
    edges = "".join(f"build n{node}: copy n{node - 1}\n" for node in range(1, nodes))
    (folder / "build.ninja").write_text(f"rule copy\n  command = cp $in $out\n{edges}")
    (folder / "n0").write_text("0\n")


def snakemake(nodes: int, folder: Path) -> None:
    rules = [f'rule all:\n    input: "n{nodes - 1}"\n']
    rules += [
        f'rule r{node}:\n    input: "n{node - 1}"\n    output: "n{node}"\n    shell: "cp {{input}} {{output}}"\n'
        for node in range(1, nodes)
    ]
    (folder / "Snakefile").write_text("\n".join(rules))
    (folder / "n0").write_text("0\n")


def dvc(nodes: int, folder: Path) -> None:
    stages = "".join(
        f"  s{node}:\n    cmd: cp n{node - 1} n{node}\n    deps: [n{node - 1}]\n    outs: [n{node}]\n"
        for node in range(1, nodes)
    )
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    (folder / "n0").write_text("0\n")


def hamilton(nodes: int, folder: Path) -> None:
    functions = [f"def n{node}(n{node - 1}: int) -> int:\n    return n{node - 1} + 1\n" for node in range(1, nodes)]
    (folder / "chain.py").write_text("\n\n".join(functions))


def hamilton_run(nodes: int, folder: Path) -> None:
    from hamilton import driver

    sys.path.insert(0, str(folder))
    sys.setrecursionlimit(10 * nodes + 1000)
    import chain

    built = driver.Builder().with_modules(chain).with_cache(path=str(folder / "cache")).build()
    result = built.execute([f"n{nodes - 1}"], inputs={"n0": 0})
    assert result[f"n{nodes - 1}"] == nodes - 1, result


def ruminate(nodes: int, folder: Path) -> None:
    """A `read` of three rows, and filters in a row. Each has another condition: equal nodes would share their results."""
    tables = ['name = "chain"\n[nodes.n0]\nkind = "read"\npath = "rows.jsonl"\n']
    tables += [
        f'[nodes.n{node}]\nkind = "where"\ninput = "n{node - 1}"\ncondition = "score > -{node}"\n' for node in range(1, nodes)
    ]
    (folder / "graph.toml").write_text("\n".join(tables))
    (folder / "rows.jsonl").write_text("".join(f'{{"id": "{row}", "score": {row}}}\n' for row in range(3)))


if __name__ == "__main__":
    tool, nodes, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    {"ninja": ninja, "snakemake": snakemake, "dvc": dvc, "hamilton": hamilton, "hamilton-run": hamilton_run, "ruminate": ruminate}[
        tool
    ](nodes, folder)

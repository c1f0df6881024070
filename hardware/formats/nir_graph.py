"""NIR graphs of any program as nested dicts: read from files, and their nodes in the order in which spikes pass them."""

from pathlib import Path
from reprlib import repr as shown
from typing import Any

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree, part, read_tree

# Graphs within graphs.
_DEEPEST = 16
_FIRING = ("LIF", "CubaLIF", "IF")
_DENSE = ("Affine", "Linear")


def read_graph(path: str | Path) -> Tree:
    """The graph of any NIR file as nested dicts: ``nodes`` by name, ``edges`` as pairs of names, ``metadata`` if there is any.

    Raises:
        InputError: what ``hdf5.read_tree`` refuses, or a file without a graph.
    """
    graph = part(read_tree(path), "node", dict, f"{path} is no NIR file: it")
    kind = part(graph, "type", str, f"{path}: the graph")
    if kind != "NIRGraph":
        raise InputError(f"{path} holds {shown(kind)} instead of a NIRGraph: write the whole graph")
    return graph


def chain(graph: Tree) -> list[tuple[str, Tree]]:
    """Names and fields of the nodes from input to output, both included.

    Raises:
        InputError: anything but a chain that takes in all nodes; names the node.
    """
    return _chain(graph, "", 0, None)


def recurrent_chain(graph: Tree) -> tuple[list[tuple[str, Tree]], dict[str, tuple[str, Tree]]]:
    """As ``chain``, of a graph in which the spikes of neurons may come back to them through one ``Affine`` or ``Linear``.

    Returns:
        The nodes of the chain, and for every such node of neurons, by name, name and fields of the weights on its way back. These are not
        in the chain. What passes them arrives in the next step.

    Raises:
        InputError: any other circle or branch, a ``Delay`` on the way back; names the node.
    """
    loops: dict[str, tuple[str, Tree]] = {}
    return _chain(graph, "", 0, loops), loops


def _chain(graph: Tree, prefix: str, depth: int, loops: dict[str, tuple[str, Tree]] | None) -> list[tuple[str, Tree]]:
    """Of a graph within others. Ways back go into ``loops``, and are branches like any other where that is None."""
    if depth > _DEEPEST:
        raise InputError(f"the graph holds graphs within graphs, {depth} deep: at most {_DEEPEST} are read")
    nodes = part(graph, "nodes", dict, "the graph")
    edges = graph.get("edges")
    # A graph in memory has pairs of strings, one from a file lists of them.
    if not isinstance(edges, list) or not all(_is_pair(e) for e in edges):
        raise InputError("the graph has no usable 'edges': give pairs of names")
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            raise InputError(f"node {shown(name)} has no type: write the graph again")
    ends = {kind: [name for name, node in nodes.items() if node["type"] == kind] for kind in ("Input", "Output")}
    for kind, names in ends.items():
        if len(names) != 1:
            raise InputError(f"the graph has {len(names)} nodes of type {kind}: one chain from one input to one output is read")
    for edge in edges:
        for name in edge:
            if name not in nodes:
                raise InputError(f"an edge leads to or from {shown(name)}, but there is no such node")
    on_the_way_back: set[str] = set()
    only = "only chains are read"
    if loops is not None:
        ways = _ways_back(nodes, edges)
        for neurons, weights in ways.items():
            loops[prefix + neurons] = prefix + weights, nodes[weights]
        on_the_way_back = set(ways.values())
        only += ", in which spikes come back to the neurons that sent them through one Affine or Linear"
    after: dict[str, str] = {}
    before: dict[str, str] = {}
    for source, target in edges:
        if {source, target} & on_the_way_back:
            continue
        if source in after or target in before:
            name = source if source in after else target
            raise InputError(f"node {shown(name)} has more than one edge {'out' if source in after else 'in'}: {only}")
        after[source], before[target] = target, source
    name = ends["Input"][0]
    names = [name]
    while name in after and after[name] != names[0]:
        name = after[name]
        names.append(name)
    loose = sorted(set(nodes) - set(names) - on_the_way_back)
    if names[-1] != ends["Output"][0] or loose:
        raise InputError(f"node {shown((loose or names[-1:])[0])} is not on the way from input to output: {only}")
    found: list[tuple[str, Tree]] = []
    for name in names:
        if nodes[name]["type"] == "NIRGraph":
            # Its own input and output hand on what arrives.
            found += _chain(nodes[name], f"{prefix}{name}.", depth + 1, loops)[1:-1]
        else:
            found.append((prefix + name, nodes[name]))
    return found


def _ways_back(nodes: Tree, edges: list[Any]) -> dict[str, str]:
    """For neurons, the dense weights through which their spikes come back to them, and do nothing else."""
    sources: dict[str, list[str]] = {}
    targets: dict[str, list[str]] = {}
    for source, target in edges:
        sources.setdefault(target, []).append(source)
        targets.setdefault(source, []).append(target)
    for name, node in nodes.items():
        if node["type"] == "Delay" and name in _reached(targets, name):
            raise InputError(f"node {shown(name)} delays spikes that come back, but those arrive in the next step here: train without it")
    found: dict[str, str] = {}
    for name, node in nodes.items():
        neurons = sources.get(name, [])
        if node["type"] not in _DENSE or len(neurons) != 1 or targets.get(name) != neurons or nodes[neurons[0]]["type"] not in _FIRING:
            continue
        if neurons[0] in found:
            raise InputError(
                f"spikes of node {shown(neurons[0])} come back by {shown(found[neurons[0]])} and {shown(name)}: add their weights up"
            )
        found[neurons[0]] = name
    return found


def _reached(targets: dict[str, list[str]], start: str) -> set[str]:
    """All that signals of a node get to."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = set(targets.get(waiting.pop(), [])) - found
        found |= new
        waiting += new
    return found


def _is_pair(edge: Any) -> bool:
    return isinstance(edge, list | tuple) and len(edge) == 2 and all(isinstance(name, str) for name in edge)

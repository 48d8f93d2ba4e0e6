"""The service graph: who needs whom, in which order they start, and what is wrong when they go round in circles.

The one door to networkx, which is imported when a graph is first asked for: it costs more than the rest of a start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from stackrun.compose.check import Edge, dependency_edges
from stackrun.errors import ComposeError, Diagnostic

if TYPE_CHECKING:
    import networkx

    from stackrun.compose.model import Project

CYCLES_MAX = 20
"""Elementary cycles can be exponentially many; more than these help nobody."""


def start_order(project: Project) -> tuple[str, ...]:
    """The enabled services, dependencies first, names breaking ties. Raises ComposeError naming every cycle."""
    edges = [edge for edge in dependency_edges(project) if edge.source in project.services and edge.target in project.services]
    return ordered(tuple(project.services), edges)


def cycle_faults(edges: Sequence[Edge]) -> list[Diagnostic]:
    """One fault for each cycle, for `compose.load`; the standard library tells first whether there is any, at a tenth of the price."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for edge in edges:
        sorter.add(edge.source, edge.target)
    try:
        sorter.prepare()
    except CycleError:
        return _cycles(_graph((), edges), edges)
    return []


def ordered(services: Sequence[str], edges: Sequence[Edge]) -> tuple[str, ...]:
    import networkx

    graph = _graph(services, edges)
    try:
        return tuple(networkx.lexicographical_topological_sort(graph))
    except networkx.NetworkXUnfeasible:
        raise ComposeError(_cycles(graph, edges)) from None


def waves(services: Sequence[str], edges: Sequence[Edge]) -> tuple[tuple[str, ...], ...]:
    """What starts together: each wave needs nothing but earlier ones, names are sorted. Raises ComposeError naming every cycle."""
    import networkx

    graph = _graph(services, edges)
    try:
        return tuple(tuple(sorted(names)) for names in networkx.topological_generations(graph))
    except networkx.NetworkXUnfeasible:
        raise ComposeError(_cycles(graph, edges)) from None


def longest_path(services: Sequence[str], lengths: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """The heaviest way through an acyclic graph of (needed, who needs it) → length; of equal ones always the same."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(sorted(services))
    graph.add_weighted_edges_from((needed, source, length) for (needed, source), length in sorted(lengths.items()))
    return tuple(networkx.dag_longest_path(graph, topo_order=list(networkx.lexicographical_topological_sort(graph))))


def _graph(services: Sequence[str], edges: Sequence[Edge]) -> networkx.DiGraph:
    """An arrow leads from what is needed to who needs it, as the start goes."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(sorted(services))
    graph.add_edges_from((edge.target, edge.source) for edge in edges)
    return graph


def _cycles(graph: networkx.DiGraph, edges: Sequence[Edge]) -> list[Diagnostic]:
    import networkx

    needs = graph.reverse(copy=False)
    places: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        places.setdefault((edge.source, edge.target), edge)
    cycles = (_from_least(cycle) for cycle in islice(networkx.simple_cycles(needs), CYCLES_MAX))
    return [_diagnostic([places[pair] for pair in pairwise([*cycle, cycle[0]])]) for cycle in sorted(cycles)]


def _from_least(cycle: list[str]) -> list[str]:
    start = cycle.index(min(cycle))
    return cycle[start:] + cycle[:start]


def _diagnostic(cycle: list[Edge]) -> Diagnostic:
    path = " → ".join([*(edge.source for edge in cycle), cycle[0].source])
    at = cycle[0].place
    if len(cycle) == 1:
        message = f'service "{cycle[0].source}" depends on itself'
        return Diagnostic(at.path, at.line, at.column, message, hint=f"remove it from {cycle[0].reason}", code="self-dependency")
    found = Diagnostic(at.path, at.line, at.column, f"dependency cycle: {path}", hint="remove one of these", code="cycle")
    found.notes = tuple((edge.place, f"{edge.source} needs {edge.target} ({edge.reason})") for edge in cycle)
    return found

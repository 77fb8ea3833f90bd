"""The parts of a model that can be int8 or float one by one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from wherever_convert.quantization.search import Breadth

# Operators whose constant weights int8 makes smaller, and themselves faster.
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Operators that hand numbers on as they are, or cut them off: int8 loses nothing by them.
MOVING = frozenset(
    {
        "Clip",
        "Concat",
        "Flatten",
        "Gather",
        "MaxPool",
        "Pad",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
# Operators that compute new numbers, which need ranges of their own.
COMPUTING = frozenset({"Add", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Mul", "Sigmoid"})

OPERATORS: Mapping[Breadth, frozenset[str]] = {
    "everything": WEIGHTED | MOVING | COMPUTING,
    "layers": WEIGHTED | MOVING,
}


class Node(NamedTuple):
    """A node of a graph: its name, its operator, and the names of its tensors."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Part(NamedTuple):
    """Nodes that become int8 or stay float together: a layer and what follows it alone.

    `name` and `op` are those of its first node; `is_layer` when that one has weights, `is_last`
    when no other part depends on it: the outputs are made of what it gives, without another layer.
    """

    name: str
    op: str
    nodes: tuple[Node, ...]
    is_layer: bool = False
    is_last: bool = False

    def quantizable(self, breadth: Breadth) -> list[str]:
        """The names of the nodes that int8 can hold."""
        return [node.name for node in self.nodes if node.op in OPERATORS[breadth]]


def is_weighted(node: Node, constants: Collection[str]) -> bool:
    """Whether a node is a layer: one with constant weights that int8 can hold."""
    return node.op in WEIGHTED and any(name in constants for name in node.inputs[:2])


def parts_of(nodes: Sequence[Node], constants: Collection[str]) -> tuple[Part, ...]:
    """Divide a graph into parts.

    What comes after the last layers belongs to none: it costs next to nothing, and the outputs'
    precision depends on it. So does what comes before the first.

    Args:
        nodes: those of the graph, each after those whose outputs it takes.
        constants: the names of the tensors that do not change.
    """
    made_by = {name: node for node in nodes for name in node.outputs}
    heads: dict[str, str] = {}
    members: dict[str, list[Node]] = {}
    lasting = _before_a_layer(nodes, constants)
    for node in nodes:
        layer = is_weighted(node, constants)
        if not layer and node.name not in lasting:
            continue
        above = {heads.get(made_by[name].name, "") for name in node.inputs if name in made_by}
        head = node.name if layer or len(above) > 1 else next(iter(above), "")
        if head:
            heads[node.name] = head
            members.setdefault(head, []).append(node)
    taken = _taken_elsewhere(nodes, heads)
    found = (
        Part(head, each[0].op, tuple(each), is_weighted(each[0], constants), head not in taken)
        for head, each in members.items()
    )
    return tuple(part for part in found if part.quantizable("everything"))


def _taken_elsewhere(nodes: Sequence[Node], heads: Mapping[str, str]) -> set[str]:
    """The heads of the parts that some node of another part takes tensors from."""
    made_in = {
        name: heads[node.name] for node in nodes if node.name in heads for name in node.outputs
    }
    return {
        made_in[name]
        for node in nodes
        for name in node.inputs
        if node.name in heads and name in made_in and made_in[name] != heads[node.name]
    }


def _before_a_layer(nodes: Sequence[Node], constants: Collection[str]) -> set[str]:
    """The names of the nodes whose outputs some layer depends on."""
    needed: set[str] = set()
    found: set[str] = set()
    for node in reversed(nodes):
        if is_weighted(node, constants):
            needed.update(node.inputs)
        if not needed.isdisjoint(node.outputs):
            found.add(node.name)
            needed.update(node.inputs)
    return found

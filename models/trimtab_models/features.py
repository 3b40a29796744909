"""Which part of an ONNX graph computes features rather than learns them."""

from typing import Any


def feature_tensors(graph: Any) -> set[str]:
    """Return the tensors up to and including every logarithm: log-mel features, which need full precision."""
    wanted = {name for node in graph.node if node.op_type == "Log" for name in node.output}
    for node in reversed(graph.node):  # topological order: readers come later
        if any(name in wanted for name in node.output):
            wanted.update(name for name in node.input if name)
    return wanted

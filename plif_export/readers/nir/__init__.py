"""A NIR file -> SNN graph: graph.py reads it, order.py puts its nodes into steps, neurons.py makes their equations ours."""

"""State of a module that a trace of its tensors cannot show, and Python code that reads values of tensors.

world: a snapshot of the Python objects around a module (attributes, closures, globals, generators), which restores them
later: numbers that can be evaluated k steps ahead, and log their comparisons
asks: reads of the environment in forward: the clock, files, threads, modes
codes: facts from the bytecode of functions and classes, without running it
looks: refusal of values that leave torch
module/hidden.py decides whether such state changes a step, now or in any later step that it can find.
"""

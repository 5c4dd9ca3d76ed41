"""A simulated camera as a source of events."""

from runtime.sources.sim.source import simulated

SOURCE = simulated

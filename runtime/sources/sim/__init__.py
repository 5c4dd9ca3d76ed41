"""A simulated camera as a source of events."""

from runtime.sources.sim.source import open_simulated

SOURCE = open_simulated

"""Streams: events -> decisions, as the events arrive. CONTRIBUTING.md describes a live step file by file.

options         the options of a stream
source_framer   the frames of a complete source
stream          one input and its decisions;  run: several of them on one engine
decide          the decision after a step (the rules are libplif's: runtime/native/rules.py)
observe         the observers of a run;  controls: start, stop, reset and end
"""

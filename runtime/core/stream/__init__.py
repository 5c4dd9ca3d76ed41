"""Events -> decisions, as the events arrive. CONTRIBUTING.md tells a live step file by file.

options         what a stream may be told
source_framer   the frames of a whole source;  queue: frames that wait
stream          one input and its decisions;  run: several of them on one engine
decide          what is said after a step (the rules are libplif's: runtime/native/rules.py)
observe         who watches;  controls: who steers
recording       the folder of --record;  record writes it, replay runs it again
"""

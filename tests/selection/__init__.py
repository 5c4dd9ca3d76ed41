"""Which tests run: all, those of `make quick`, one shard, and slow cases only where what they test has changed.

imports.py    what a test file imports, and so whether it is light, and whether it uses a part that was removed
measure.py    --measure FILE: the processor seconds of each case
costs.py      tests/costs.json: seconds of each case, and which files the slow ones open
trace.py      which files the slow cases of a file of tests open
sources.py    the files that a test file depends on, and a key over their contents
select.py     --slow changed: leaves slow cases out whose key is that of a run in which they passed
shards.py     --shard 1/8: a part of make test-all, and which shard is due
skips.py      the line at the end of a run that says what would bring the tests that were skipped
"""

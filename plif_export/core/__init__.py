"""The core of `plif export` and `plif verify`: readers -> graph -> passes -> writers -> targets, and the proof."""

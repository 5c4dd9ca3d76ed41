"""What `plif export` and `plif verify` need: readers -> graph -> passes -> writers -> targets, and the proof."""

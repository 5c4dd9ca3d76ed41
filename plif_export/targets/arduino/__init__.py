"""The target --to c --set layout=arduino."""

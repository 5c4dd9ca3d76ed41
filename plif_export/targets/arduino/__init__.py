"""--to c --set layout=arduino."""

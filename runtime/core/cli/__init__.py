"""The `plif` command: main.py lists the commands by name; each other module has one or two related commands."""

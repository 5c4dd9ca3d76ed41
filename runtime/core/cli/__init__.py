"""The `plif` command: main mounts the commands by name; one file has a command or two that belong together."""

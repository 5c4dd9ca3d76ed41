"""The engines that a proof runs next to the file: those among which `--engine auto` chooses, or all."""

"""--to tensorrt and --to tensorrt-rtx."""

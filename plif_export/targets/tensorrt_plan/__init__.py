"""The targets --to tensorrt and --to tensorrt-rtx."""

ABOUT = "Layers that stay as they are while others learn."
CONTRACT = "Observer"
OPTIONS = "keys:FixedKeys"
PAGE = "docs/training.md"

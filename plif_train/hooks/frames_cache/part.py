ABOUT = "Frames kept on disk, so that reading and framing happen once."
CONTRACT = "Observer"
GIVES = {"load_cached": "cache:load_cached"}
PAGE = "docs/training.md"

"""--engine event."""

ABOUT = "The engine of plif's own, which adds up what fired."
CONTRACT = "Engine"
NAMES = {"event": "plif's own, which adds up what fired"}
AUTO = (".onnx", ".plif", ".html")
CHECK = "engine:find_missing"
NEEDS = ("runtime/engines/event_program",)
PAGE = "docs/event-engine.md"

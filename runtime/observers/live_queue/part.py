ABOUT = "Live feeds, and recordings at their own speed: frames are read ahead into a bounded queue."
CONTRACT = "Observer"
HEARS = ("queues",)
PAGE = "docs/live.md"

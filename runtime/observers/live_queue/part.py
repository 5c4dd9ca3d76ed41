ABOUT = "Live feeds, and recordings at their own pace: frames are read ahead, and wait in a bounded queue."
CONTRACT = "Observer"
HEARS = ("queues",)
PAGE = "docs/live.md"

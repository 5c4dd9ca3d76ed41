ABOUT = "Tells systemd that a stream runs."
CONTRACT = "Observer"
HEARS = ("stream",)
PAGE = "docs/service.md"

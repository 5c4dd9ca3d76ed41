ABOUT = "Events of iniVation's software over TCP, tcp://HOST:PORT."
CONTRACT = "Source"
SCHEME = "tcp"
REQUIRES = ("dv_processing",)
EXTRA = "inivation"
NEEDS = ("runtime/sources/udp", "runtime/formats/child")
PAGE = "docs/live.md"

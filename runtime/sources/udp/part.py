ABOUT = "Events that come as UDP datagrams, udp://HOST:PORT."
CONTRACT = "Source"
SCHEME = "udp"
NEEDS = ("runtime/sources/network_address",)
PAGE = "docs/live.md"

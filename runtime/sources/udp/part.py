ABOUT = "Events that come as UDP datagrams, udp://HOST:PORT."
CONTRACT = "Source"
SCHEME = "udp"
PAGE = "docs/live.md"

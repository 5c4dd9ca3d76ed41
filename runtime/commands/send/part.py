"""The command `plif send`."""

CONTRACT = "Command"
ABOUT = "Sends a recording as UDP datagrams: a camera for trying plif stream."
NEEDS = ("runtime/sources/udp",)
PAGE = "docs/live.md"

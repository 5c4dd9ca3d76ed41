ABOUT = "Event cameras on USB, usb:// or usb://SERIAL."
CONTRACT = "Source"
SCHEME = "usb"
REQUIRES = ("neuromorphic_drivers",)
EXTRA = "usb"
PAGE = "docs/live.md"

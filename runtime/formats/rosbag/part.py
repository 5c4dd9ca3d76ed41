ABOUT = "Rosbags of ROS 1 and 2, .bag, .db3 and .mcap, read without ROS."
CONTRACT = "Format"
MAGIC = (b"#ROSBAG V", b"SQLite format 3\0", b"\x89MCAP0\r\n")
REQUIRES = ("rosbags",)
EXTRA = "rosbag"
NEEDS = ("runtime/formats/child",)
PAGE = "docs/events.md"

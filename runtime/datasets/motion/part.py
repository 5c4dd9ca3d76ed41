ABOUT = "Makes recordings of motion capture, BVH or AMC with its ASF, in front of a simulated camera."
CONTRACT = "DataSet"
OPTIONS = "options:MotionOptions"
NEEDS = ("runtime/datasets/performers", "runtime/formats/aedat31")
PAGE = "docs/gesture.md"

ABOUT = "DVS128 Gesture, eleven gestures of 29 people, in AEDAT 3.1."
CONTRACT = "DataSet"
NAMES = ("dvs128-gesture",)

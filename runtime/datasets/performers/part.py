ABOUT = "Simulated people with or without gestures, in front of a simulated camera."
CONTRACT = "DataSet"
NAMES = ()
NEEDS = ("runtime/datasets/simulated_camera",)

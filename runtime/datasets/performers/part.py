ABOUT = "Simulated people who do gestures, or none, before a simulated camera."
CONTRACT = "DataSet"
NAMES = ()
NEEDS = ("runtime/datasets/simulated_camera",)

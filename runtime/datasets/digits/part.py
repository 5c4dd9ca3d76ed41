ABOUT = "Drawn digits before a simulated camera, made when they are read."
CONTRACT = "DataSet"
NEEDS = ("runtime/datasets/simulated_camera",)

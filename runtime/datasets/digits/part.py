ABOUT = "Drawn digits in front of a simulated camera, made when they are read."
CONTRACT = "DataSet"
NEEDS = ("runtime/datasets/simulated_camera",)

ABOUT = "Makes a simulated N-MNIST of the images of MNIST."
CONTRACT = "DataSet"
NAMES = ("nmnist-sim",)
OPTIONS = "options:NmnistSource"
NEEDS = ("runtime/datasets/digits", "runtime/datasets/idx_images")

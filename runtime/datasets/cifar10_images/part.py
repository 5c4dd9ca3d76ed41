ABOUT = "CIFAR-10, from the binary files of its authors or from folders of images."
CONTRACT = "DataSet"
NAMES = ("cifar10",)
NEEDS = ("runtime/formats/child",)

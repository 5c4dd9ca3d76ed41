ABOUT = "MNIST and Fashion-MNIST, from the IDX files of their authors."
CONTRACT = "DataSet"
NAMES = ("mnist", "fashion-mnist")

ABOUT = "Recordings in zip archives, as data sets are downloaded."
CONTRACT = "DataSet"
NAMES = ()
HEARS = ("archives",)

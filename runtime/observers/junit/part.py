ABOUT = "Gates as test cases, in the XML of JUnit."
CONTRACT = "Observer"
HEARS = ("gates",)
OPTIONS = "JUnitOptions"

ABOUT = "Arithmetic between values, and functions of them."
CONTRACT = "Operation"
NAMES = (
    "Add",
    "Mul",
    "Sub",
    "Div",
    "Unary",
)

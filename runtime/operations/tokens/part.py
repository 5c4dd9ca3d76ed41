ABOUT = "Products of two values, and what joins values along axes: attention over tokens."
CONTRACT = "Operation"
NAMES = (
    "Reduce",
    "Softmax",
    "LayerNorm",
    "MatMul",
)

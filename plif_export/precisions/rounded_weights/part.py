ABOUT = "Weights rounded to fp16, or to whole numbers of 8, 4 or 2 bits."
CONTRACT = "Precision"
NAMES = ("fp16", "int8", "int4", "ternary")
GIVES = {
    "float16": "onnx_form:write_half",
    "int8": "onnx_form:write_integer",
    "grids": "whole_numbers:describe_grids",
}
PAGE = "docs/precision.md"

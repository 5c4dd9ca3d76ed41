"""--to openvino."""

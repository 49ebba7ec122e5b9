"""From an ONNX file to a shared library that TVM's runtime alone executes."""

"""Trainers that Weft starts: a point-in-time training set in, an ONNX model and its records out."""

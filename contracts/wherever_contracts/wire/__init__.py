"""The Open Inference Protocol v2, as messages and tensors; no sockets."""

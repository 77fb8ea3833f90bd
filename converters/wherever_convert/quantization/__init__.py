"""Int8 that keeps its promise: which layers of a model can be int8, and which stay float."""

"""A PyTorch module, through torch.onnx."""

from __future__ import annotations

from wherever_convert.sources.objects import ObjectSource


class PyTorch(ObjectSource):
    """Exports a module in evaluation mode, with any number of rows where it can take that."""

    title = "a PyTorch nn.Module (the object, or FILE.py:NAME)"
    exporter = "wherever_convert.env.exporters.pytorch"
    tools = "torch"

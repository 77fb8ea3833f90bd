"""Models for MLServer, run by its own Python: numbers doubled, text in capitals, bytes counted."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Doubled(MLModel):
    """Twice the input `x`, of any datatype that numpy has; refuses more than eight rows."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        if len(array) > 8:
            raise InferenceError("eight rows are the most")
        doubled = NumpyCodec.encode_output("y", array * array.dtype.type(2))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[doubled])


class Capitals(MLModel):
    """The texts of the input `text` in capitals, and how many bytes each has in UTF-8."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        sizes = np.array([len(text.encode()) for text in texts], np.int64)
        outputs = [
            StringCodec.encode_output("capitals", [text.upper() for text in texts]),
            NumpyCodec.encode_output("bytes", sizes),
        ]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)

"""Work B as a custom runtime of MLServer."""

from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri

from loadtests.peers.forecasting import Series, with_scikit_learn


class Forecast(MLModel):
    """One series in, point and quantiles of each step out."""

    async def load(self) -> bool:
        """Load the two models."""
        self.forecasting = with_scikit_learn(Path(await get_model_uri(self._settings)))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Tensors `series`, `quantiles`, `past:NAME`, `future:NAME` and the text `start_timestamp`."""
        tensors = {tensor.name: tensor for tensor in payload.inputs}
        (start,) = StringCodec.decode_input(tensors.pop("start_timestamp"))
        arrays = {name: NumpyCodec.decode_input(tensor).ravel().tolist() for name, tensor in tensors.items()}
        made = self.forecasting(
            Series(
                start_timestamp=start,
                series=arrays["series"],
                past_covariates=_named(arrays, "past:"),
                future_covariates=_named(arrays, "future:"),
                quantiles=arrays["quantiles"],
            )
        )
        outputs = {"mean": made.mean} | made.quantiles
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                {"name": name, "shape": [len(values)], "datatype": "FP64", "data": values}
                for name, values in outputs.items()
            ],
        )


def _named(arrays: dict[str, list[float]], prefix: str) -> dict[str, list[float]]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}

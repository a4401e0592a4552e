from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Numbers(_message.Message):
    __slots__ = ("values", "packed")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    packed: bytes
    def __init__(self, values: _Optional[_Iterable[float]] = ..., packed: _Optional[bytes] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("name", "values", "start_timestamp", "frequency", "past_covariates", "future_covariates")
    class PastCovariatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Numbers
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Numbers, _Mapping]] = ...) -> None: ...
    class FutureCovariatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Numbers
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Numbers, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    START_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    PAST_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    FUTURE_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: Numbers
    start_timestamp: str
    frequency: str
    past_covariates: _containers.MessageMap[str, Numbers]
    future_covariates: _containers.MessageMap[str, Numbers]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Union[Numbers, _Mapping]] = ..., start_timestamp: _Optional[str] = ..., frequency: _Optional[str] = ..., past_covariates: _Optional[_Mapping[str, Numbers]] = ..., future_covariates: _Optional[_Mapping[str, Numbers]] = ...) -> None: ...

class ForecastRequest(_message.Message):
    __slots__ = ("model", "series", "horizon", "quantiles", "packed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    model: str
    series: _containers.RepeatedCompositeFieldContainer[Series]
    horizon: int
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    packed: bool
    def __init__(self, model: _Optional[str] = ..., series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ..., horizon: _Optional[int] = ..., quantiles: _Optional[_Iterable[float]] = ..., packed: _Optional[bool] = ...) -> None: ...

class Quantile(_message.Message):
    __slots__ = ("level", "values")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    level: float
    values: Numbers
    def __init__(self, level: _Optional[float] = ..., values: _Optional[_Union[Numbers, _Mapping]] = ...) -> None: ...

class SeriesForecast(_message.Message):
    __slots__ = ("name", "start_timestamp", "mean", "quantiles")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_timestamp: str
    mean: Numbers
    quantiles: _containers.RepeatedCompositeFieldContainer[Quantile]
    def __init__(self, name: _Optional[str] = ..., start_timestamp: _Optional[str] = ..., mean: _Optional[_Union[Numbers, _Mapping]] = ..., quantiles: _Optional[_Iterable[_Union[Quantile, _Mapping]]] = ...) -> None: ...

class ForecastResponse(_message.Message):
    __slots__ = ("model", "model_version", "bento", "forecasts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BENTO_FIELD_NUMBER: _ClassVar[int]
    FORECASTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_version: str
    bento: str
    forecasts: _containers.RepeatedCompositeFieldContainer[SeriesForecast]
    def __init__(self, model: _Optional[str] = ..., model_version: _Optional[str] = ..., bento: _Optional[str] = ..., forecasts: _Optional[_Iterable[_Union[SeriesForecast, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "frequency", "horizon", "context_length", "past_covariates", "future_covariates", "lowest_quantile", "highest_quantile", "trained_until", "bento")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PAST_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    FUTURE_COVARIATES_FIELD_NUMBER: _ClassVar[int]
    LOWEST_QUANTILE_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_QUANTILE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    BENTO_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    frequency: str
    horizon: int
    context_length: int
    past_covariates: _containers.RepeatedScalarFieldContainer[str]
    future_covariates: _containers.RepeatedScalarFieldContainer[str]
    lowest_quantile: float
    highest_quantile: float
    trained_until: str
    bento: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., frequency: _Optional[str] = ..., horizon: _Optional[int] = ..., context_length: _Optional[int] = ..., past_covariates: _Optional[_Iterable[str]] = ..., future_covariates: _Optional[_Iterable[str]] = ..., lowest_quantile: _Optional[float] = ..., highest_quantile: _Optional[float] = ..., trained_until: _Optional[str] = ..., bento: _Optional[str] = ...) -> None: ...

class Actual(_message.Message):
    __slots__ = ("series", "timestamp", "value")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    series: str
    timestamp: str
    value: float
    def __init__(self, series: _Optional[str] = ..., timestamp: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class PutActualsRequest(_message.Message):
    __slots__ = ("actuals",)
    ACTUALS_FIELD_NUMBER: _ClassVar[int]
    actuals: _containers.RepeatedCompositeFieldContainer[Actual]
    def __init__(self, actuals: _Optional[_Iterable[_Union[Actual, _Mapping]]] = ...) -> None: ...

class PutActualsResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    def __init__(self, accepted: _Optional[int] = ...) -> None: ...

"""The messages of the Open Inference Protocol v2 (gRPC), of gRPC's health checks, and of pairing.

The classes live in a pool of their own: other clients of the protocol register the same names in
protobuf's default pool, and two registrations in one pool make the second import fail.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"
BOX_SERVICE = "wherever.Box"

# package -> message -> fields, each "NUMBER [repeated|oneof] TYPE NAME". Messages are
# flat where the published files nest it: names of types do not travel. "map" stands for
# map<string, InferParameter>, and the enum of the health checks for the int32 that it travels as.
_PACKAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "inference": {
        "ServerLiveRequest": (),
        "ServerLiveResponse": ("1 bool live",),
        "ServerReadyRequest": (),
        "ServerReadyResponse": ("1 bool ready",),
        "ModelReadyRequest": ("1 string name", "2 string version"),
        "ModelReadyResponse": ("1 bool ready",),
        "ServerMetadataRequest": (),
        "ServerMetadataResponse": (
            "1 string name",
            "2 string version",
            "3 repeated string extensions",
        ),
        "ModelMetadataRequest": ("1 string name", "2 string version"),
        "TensorMetadata": ("1 string name", "2 string datatype", "3 repeated int64 shape"),
        "ModelMetadataResponse": (
            "1 string name",
            "2 repeated string versions",
            "3 string platform",
            "4 repeated TensorMetadata inputs",
            "5 repeated TensorMetadata outputs",
        ),
        "InferParameter": (
            "1 oneof bool bool_param",
            "2 oneof int64 int64_param",
            "3 oneof string string_param",
            "4 oneof double double_param",
            "5 oneof uint64 uint64_param",
        ),
        "InferTensorContents": (
            "1 repeated bool bool_contents",
            "2 repeated int32 int_contents",
            "3 repeated int64 int64_contents",
            "4 repeated uint32 uint_contents",
            "5 repeated uint64 uint64_contents",
            "6 repeated float fp32_contents",
            "7 repeated double fp64_contents",
            "8 repeated bytes bytes_contents",
        ),
        "InferTensor": (
            "1 string name",
            "2 string datatype",
            "3 repeated int64 shape",
            "4 map parameters",
            "5 InferTensorContents contents",
        ),
        "InferRequestedOutputTensor": ("1 string name", "2 map parameters"),
        "ModelInferRequest": (
            "1 string model_name",
            "2 string model_version",
            "3 string id",
            "4 map parameters",
            "5 repeated InferTensor inputs",
            "6 repeated InferRequestedOutputTensor outputs",
            "7 repeated bytes raw_input_contents",
        ),
        "ModelInferResponse": (
            "1 string model_name",
            "2 string model_version",
            "3 string id",
            "4 map parameters",
            "5 repeated InferTensor outputs",
            "6 repeated bytes raw_output_contents",
        ),
        "ModelStreamInferResponse": (
            "1 string error_message",
            "2 ModelInferResponse infer_response",
        ),
        "ModelIndex": ("1 string name", "2 string version", "3 string state", "4 string reason"),
        "RepositoryIndexRequest": ("1 string repository_name", "2 bool ready"),
        "RepositoryIndexResponse": ("1 repeated ModelIndex models",),
        "RepositoryModelLoadRequest": ("1 string repository_name", "2 string model_name"),
        "RepositoryModelLoadResponse": (),
        "RepositoryModelUnloadRequest": ("1 string repository_name", "2 string model_name"),
        "RepositoryModelUnloadResponse": (),
        "StatisticDuration": ("1 uint64 count", "2 uint64 ns"),
        "InferStatistics": (
            "1 StatisticDuration success",
            "2 StatisticDuration fail",
            "3 StatisticDuration queue",
            "4 StatisticDuration compute_input",
            "5 StatisticDuration compute_infer",
            "6 StatisticDuration compute_output",
        ),
        "InferBatchStatistics": (
            "1 uint64 batch_size",
            "2 StatisticDuration compute_input",
            "3 StatisticDuration compute_infer",
            "4 StatisticDuration compute_output",
        ),
        "ModelStatistics": (
            "1 string name",
            "2 string version",
            "3 uint64 last_inference",
            "4 uint64 inference_count",
            "5 uint64 execution_count",
            "6 InferStatistics inference_stats",
            "7 repeated InferBatchStatistics batch_stats",
        ),
        "ModelStatisticsRequest": ("1 string name", "2 string version"),
        "ModelStatisticsResponse": ("1 repeated ModelStatistics model_stats",),
    },
    "grpc.health.v1": {
        "HealthCheckRequest": ("1 string service",),
        "HealthCheckResponse": ("1 int32 status",),
    },
    "wherever": {
        "PairRequest": ("1 string pin", "2 string device"),
        "PairResponse": ("1 string name", "2 string api_key"),
        # the stream of calls; see `wherever_contracts.wire.streaming`
        "Header": ("1 string name", "2 string value"),
        "Call": (
            "1 uint64 number",
            "2 double timeout_s",
            "3 bytes request",
            "4 bool cancel",
            "5 repeated Header headers",
        ),
        "Calls": ("1 repeated Call calls",),
        "Answer": (
            "1 uint64 number",
            "2 bytes response",
            "3 string status",
            "4 string details",
            "5 string code",
            "6 oneof int64 pushback_ms",
        ),
        "Answers": ("1 repeated Answer answers", "2 bool goaway"),
    },
}

# package -> service -> method -> (request, response, whether it is a stream both ways)
_SERVICES: dict[str, dict[str, dict[str, tuple[str, str, bool]]]] = {
    "inference": {
        "GRPCInferenceService": {
            **{
                name: (f"{name}Request", f"{name}Response", False)
                for name in (
                    "ServerLive",
                    "ServerReady",
                    "ServerMetadata",
                    "ModelReady",
                    "ModelMetadata",
                    "ModelInfer",
                    "ModelStatistics",
                    "RepositoryIndex",
                    "RepositoryModelLoad",
                    "RepositoryModelUnload",
                )
            },
            "ModelStreamInfer": ("ModelInferRequest", "ModelStreamInferResponse", True),
        },
    },
    "grpc.health.v1": {"Health": {"Check": ("HealthCheckRequest", "HealthCheckResponse", False)}},
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def _file(package: str, messages: dict[str, tuple[str, ...]]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"wherever/{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for line in fields:
            _add_field(message, line, f".{package}")
    for service, methods in _SERVICES.get(package, {}).items():
        described = file.service.add(name=service)
        for method, (request, response, streams) in methods.items():
            described.method.add(
                name=method,
                input_type=f".{package}.{request}",
                output_type=f".{package}.{response}",
                client_streaming=streams,
                server_streaming=streams,
            )
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, line: str, package: str) -> None:
    number, *label, kind, name = line.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind == "map":
        kind = _add_map_entry(message, package)
        label = ["repeated"]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f"{package}.{kind}"
    if label == ["repeated"]:
        field.label = _Field.LABEL_REPEATED
    elif label == ["oneof"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        field.oneof_index = 0


def _add_map_entry(message: descriptor_pb2.DescriptorProto, package: str) -> str:
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    _add_field(entry, "1 string key", package)
    _add_field(entry, "2 InferParameter value", package)
    return f"{message.name}.{entry.name}"


def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    for package, messages in _PACKAGES.items():
        pool.AddSerializedFile(_file(package, messages).SerializeToString())
    return pool


def _classes() -> dict[str, Any]:
    return {
        name: message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{package}.{name}"))
        for package, messages in _PACKAGES.items()
        for name in messages
    }


# where the messages and services are described; Any, because protobuf has no types of its own
POOL: Any = _pool()

# message name -> class; Any, because protobuf makes the classes at run time
CLASSES: dict[str, Any] = _classes()

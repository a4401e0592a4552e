// The same request in every protocol, as a command for a shell and as a program in Python.

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/**
 * The protocols, each with what to say of it and functions that write its snippets.
 *
 * They take { model, request, base, grpc, key }: what the service says of itself, a body of the Time Series API, the page's
 * address, host and port of gRPC (null if it is off), and whether the service wants an API key.
 */
export const PROTOCOLS = [
  {
    name: "Time Series",
    says: "KServe's Time Series API, with covariates.",
    shell: (c) => curl(c, "/v1/timeseries/forecast", c.request),
    python: (c) => requests(c, "/v1/timeseries/forecast", c.request),
  },
  {
    name: "Inference V2",
    says: "The Open Inference Protocol over HTTP, as KServe and Triton speak it.",
    shell: (c) => curl(c, `/v2/models/${c.model.name}/infer`, { inputs: tensors(c.request), parameters: horizon(c.request) }),
    python: (c) => triton(c, "http", c.base.replace(/^https?:\/\//, "")),
  },
  {
    name: "Predict V1",
    says: "KServe's first protocol, which is TensorFlow Serving's.",
    shell: (c) => curl(c, `/v1/models/${c.model.name}:predict`, instances(c.request)),
    python: (c) => requests(c, `/v1/models/${c.model.name}:predict`, instances(c.request)),
  },
  {
    name: "gRPC",
    says: "Our own typed protocol, forecast.v1. The service describes its messages itself, by reflection.",
    grpc: true,
    shell: (c) => grpcurl(c, "forecast.v1.ForecastService/Forecast", typed(c.request)),
    python: (c) => reflected(c, typed(c.request)),
  },
  {
    name: "gRPC V2",
    says: "The Open Inference Protocol over gRPC.",
    grpc: true,
    shell: (c) => grpcurl(c, "inference.GRPCInferenceService/ModelInfer", contents(c)),
    python: (c) => triton(c, "grpc", c.grpc),
  },
  {
    name: "BentoML",
    says: "BentoML's own client, which asks the service what it offers.",
    shell: (c) => curl(c, "/forecast", c.request),
    python: (c) => bentoml(c),
  },
];

function curl({ base, key }, path, body) {
  const header = key ? ' \\\n  -H "authorization: Bearer $API_KEY"' : "";
  return `curl -s '${base}${path}' -H 'content-type: application/json'${header} --data-binary @- <<'END'\n${layout(body)}\nEND`;
}

function grpcurl({ base, grpc, key }, method, body) {
  const plain = base.startsWith("https") ? "" : "-plaintext ";
  const header = key ? '-H "authorization: Bearer $API_KEY" ' : "";
  return `grpcurl ${plain}${header}-d @ '${grpc}' ${method} <<'END'\n${layout(body)}\nEND`;
}

function requests({ base, key }, path, body) {
  return `# pip install requests
${key ? "import os\n\n" : ""}import requests

body = ${layout(body, literal)}
answer = requests.post("${base}${path}", json=body${key ? `, headers=${BEARER}` : ""}, timeout=30)
answer.raise_for_status()
print(answer.json())`;
}

function triton({ base, key, model, request }, kind, address) {
  const array = ({ name, datatype, shape, data }) => {
    const values = layout(data, literal), kind = datatype === "BYTES" ? "object" : "float";
    return `    ${JSON.stringify(name)}: np.array(${shape.length > 1 ? `[${values}]` : values}, dtype=${kind}),\n`;
  };
  return `# pip install "tritonclient[${kind}]"
${key ? "import os\n\n" : ""}import numpy as np
import tritonclient.${kind} as triton
from tritonclient.utils import np_to_triton_dtype

arrays = {
${tensors(request).map(array).join("")}}
inputs = []
for name, values in arrays.items():
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    inputs.append(tensor)
client = triton.InferenceServerClient("${address}"${base.startsWith("https") ? ", ssl=True" : ""})
answer = client.infer("${model.name}", inputs, parameters=${layout(horizon(request), literal)}${key ? `, headers=${BEARER}` : ""})
print(answer.as_numpy("mean").tolist())
print(answer.as_numpy("quantiles").tolist())`;
}

function reflected({ base, grpc, key }, body) {
  const tls = base.startsWith("https");
  const channel = tls ? `secure_channel("${grpc}", grpc.ssl_channel_credentials())` : `insecure_channel("${grpc}")`;
  return `# pip install grpcio-reflection
${key ? "import os\n\n" : ""}import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

body = ${layout(body, literal)}
with grpc.${channel} as channel:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("forecast.v1.ForecastService").methods_by_name["Forecast"]
    request = ParseDict(body, GetMessageClass(method.input_type)())
    forecast = channel.unary_unary(
        "/forecast.v1.ForecastService/Forecast",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = forecast(request, timeout=30${key ? `, metadata=list(${BEARER}.items())` : ""})
print(MessageToDict(answer))`;
}

function bentoml({ base, key, request }) {
  return `# pip install bentoml
${key ? "import os\n\n" : ""}import bentoml

body = ${layout(request, literal)}
with bentoml.SyncHTTPClient("${base}"${key ? ', token=os.environ["API_KEY"]' : ""}) as client:
    print(client.forecast(**body))`;
}

const BEARER = '{"authorization": "Bearer " + os.environ["API_KEY"]}';

const horizon = ({ options }) => ({ horizon: options.horizon });

const instances = ({ inputs, options }) => ({ instances: inputs, parameters: options });

/** The request as tensors of the Open Inference Protocol; of one series, as all requests of the page. */
function tensors({ inputs: [input], options }) {
  const numbers = (name, data) => ({ name, datatype: "FP64", shape: [1, data.length], data });
  const texts = (name, text) => ({ name, datatype: "BYTES", shape: [1], data: [text] });
  const covariates = ["past_covariates", "future_covariates"].flatMap((kind) =>
    Object.entries(input[kind] ?? {}).map(([name, data]) => numbers(`${kind}.${name}`, data)),
  );
  return [
    texts("name", input.name),
    numbers("series", input.series),
    texts("start_timestamp", input.start_timestamp),
    ...covariates,
    { name: "quantiles", datatype: "FP64", shape: [options.quantiles.length], data: options.quantiles },
  ];
}

/** The tensors as gRPC carries them in JSON: bytes in base 64, NaN by name. */
function contents({ model, request }) {
  const inputs = tensors(request).map(({ data, ...tensor }) => ({
    ...tensor,
    contents: tensor.datatype === "BYTES" ? { bytes_contents: data.map(base64) } : { fp64_contents: data.map(named) },
  }));
  return { model_name: model.name, parameters: { horizon: { int64_param: request.options.horizon } }, inputs };
}

/** The request as the messages of forecast.v1. */
function typed({ inputs, options }) {
  const numbers = (values) => ({ values: values.map(named) });
  const covariates = (given = {}) => Object.fromEntries(Object.entries(given).map(([name, values]) => [name, numbers(values)]));
  const series = inputs.map((input) => ({
    name: input.name,
    values: numbers(input.series),
    start_timestamp: input.start_timestamp,
    frequency: input.frequency,
    past_covariates: covariates(input.past_covariates),
    future_covariates: covariates(input.future_covariates),
  }));
  return { series, ...options };
}

const named = (value) => value ?? "NaN";

const literal = (value) => ({ null: "None", true: "True", false: "False" })[JSON.stringify(value)] ?? JSON.stringify(value);

/** JSON, or the same in Python, with each list of plain values on one line. */
function layout(value, write = JSON.stringify, indent = "") {
  const plain = (part) => part === null || typeof part !== "object";
  if (plain(value)) return write(value);
  const isList = Array.isArray(value), [open, close] = isList ? "[]" : "{}";
  const deeper = `${indent}  `, key = (name) => (isList ? "" : `${JSON.stringify(name)}: `);
  const parts = Object.entries(value).map(([name, part]) => key(name) + layout(part, write, deeper));
  if (!parts.length || (isList && value.every(plain))) return open + parts.join(", ") + close;
  return `${open}\n${parts.map((part) => deeper + part).join(",\n")}\n${indent}${close}`;
}

// The page: what is picked, what the service says to it, and where both are shown.

import { readTable, TableError, writeTable } from "./csv.js";
import { writer } from "./numbers.js";
import { Plot } from "./plot.js";
import { PROTOCOLS } from "./snippets.js";
import { parseTime, writeTime } from "./times.js";

/** Intervals by name, the widest first. */
const BANDS = [{ name: "95", ends: [0.025, 0.975] }, { name: "80", ends: [0.1, 0.9] }];
const MOST_BYTES = 20_000_000;

/** What the service refused, or that it does not answer. */
class Refusal extends Error {}

const at = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const base = new URL(".", document.baseURI).href.replace(/\/$/, "").replaceAll("'", "%27");
const plot = new Plot(at("plot"), at("legend"));

let key = "";
let model = null;
let examples = [];
/** What is picked, as { input, actuals }, and the service's answer to it. */
let given = null;
let answer = null;
let protocol = PROTOCOLS[0];

async function ask(path, sent) {
  const headers = { ...(key && { authorization: `Bearer ${key}` }), ...(sent && { "content-type": "application/json" }) };
  const options = sent ? { method: "POST", headers, body: JSON.stringify(sent) } : { headers };
  const reply = await fetch(path, options).catch((err) => {
    throw new Refusal(`The service does not answer (${err.message}).`);
  });
  const told = await reply.json().catch(() => ({}));
  if (reply.status === 401) {
    at("key-form").hidden = false;
    at("key").focus();
    throw new Refusal(key ? "This is not one of the service's API keys." : "This service wants an API key.");
  }
  if (!reply.ok) throw new Refusal(`Refused: ${told.error?.message ?? `status ${reply.status}`}.`);
  return told;
}

async function load() {
  model = (await ask("v1/timeseries/models")).models[0];
  examples = (await ask("v1/timeseries/examples")).examples;
  const ahead = `, then ${model.horizon} with an empty value and ${model.future_covariates.join(", ")}`;
  at("wanted").textContent =
    `Columns timestamp, value${covariates().map((name) => `, ${name}`).join("")}. One series, oldest first, ` +
    `${model.context_length} rows of history or more${model.future_covariates.length ? ahead : ""}.`;
  at("summary").textContent = `${model.columns.target}, up to ${model.horizon} steps of ${model.frequency} ahead`;
  at("steps").max = at("steps").value = model.horizon;
  at("example").replaceChildren(...examples.map(({ request }, place) => new Option(request.inputs[0].name, place)));
  for (const id of ["begin", "example", "by-example"]) at(id).disabled = !examples.length;
  if (!examples.length) at("by-table").checked = true;
  at("key-form").hidden = true;
  at("loaded").inert = false;
  at("fault").textContent = "";
  showModel();
  pick();
}

const covariates = () => [...new Set([...model.past_covariates, ...model.future_covariates])];

const steps = () => (at("steps").checkValidity() ? at("steps").valueAsNumber : model.horizon);

/** Take what the controls say; an answer to something else is forgotten. */
function pick() {
  const own = chosen("source") === "table";
  at("own").hidden = !own;
  at("example-label").hidden = own;
  given = answer = null;
  say("");
  try {
    if (own && at("table").value.trim()) given = readTable(at("table").value, model, steps(), at("again").checked);
    if (!own) given = example(steps());
    if (own && given) say(`${given.input.series.length} rows of history from ${given.input.start_timestamp} will be sent.`);
  } catch (err) {
    if (!(err instanceof TableError)) throw err;
    say(err.message, "fault");
  }
  at("table").setAttribute("aria-invalid", at("said").className === "fault");
  show();
}

function example(size) {
  const { request, actuals } = examples[at("example").value];
  const [input] = request.inputs;
  const ahead = Object.entries(input.future_covariates ?? {}).map(([name, values]) => [name, values.slice(0, size)]);
  return { input: { ...input, future_covariates: Object.fromEntries(ahead) }, actuals: actuals.slice(0, size) };
}

/** Body of the Time Series API; the model may not be calibrated for all intervals. */
function request() {
  const { min, max } = model.quantiles;
  const levels = BANDS.flatMap(({ ends }) => ends).filter((level) => min <= level && level <= max);
  return { inputs: [given.input], options: { horizon: steps(), quantiles: levels.sort((one, other) => one - other) } };
}

async function forecast() {
  if (!given) {
    if (!at("said").textContent) say("Paste a table, open a file, or begin with the example.", "fault");
    at("table").focus();
    return;
  }
  const asked = given, began = performance.now();
  const told = await ask("v1/timeseries/forecast", request());
  if (asked !== given) return; // something else was picked in the meantime
  answer = told.outputs[0].content[0];
  say(`${answer.mean_forecast.length} steps forecast in ${Math.max(1, Math.round(performance.now() - began))} ms.`);
  show();
}

function show() {
  const picture = {
    start: given ? parseTime(given.input.start_timestamp) : 0,
    step: model.step_seconds * 1000,
    history: given?.input.series ?? [],
    actuals: given?.actuals ?? [],
    mean: answer?.mean_forecast ?? [],
    bands: BANDS.map(({ name, ends: [low, high] }) => ({ name, low: answer?.quantiles[low], high: answer?.quantiles[high] })),
    steps: steps(),
    shown: Number(at("shown").value) * model.horizon,
  };
  picture.bands = picture.bands.filter(({ low, high }) => low && high);
  at("plot-title").textContent = given ? `${model.columns.target}, ${given.input.name}` : "Forecast";
  plot.show(picture);
  showNumbers(picture);
  showCode();
}

function showNumbers({ start, step, history, mean, bands, actuals }) {
  const was = writer([...history, ...actuals]), will = writer([...mean, ...bands.flatMap(({ high }) => high)]);
  const band = (name, row) => bands.filter((one) => one.name === name).flatMap(({ low, high }) => [low[row], high[row]]);
  const rows = mean.map((value, row) =>
    element("tr", [
      element("th", writeTime(start + (history.length + row) * step, step, "short"), { scope: "row" }),
      cell([value], will),
      cell([actuals[row]], was),
      cell(band("80", row), will),
      cell(band("95", row), will),
    ]),
  );
  const none = element("tr", [element("td", "No forecast yet.", { colSpan: 5 })]);
  at("numbers").replaceChildren(...(rows.length ? rows : [none]));
  const seen = mean.length && chosen("source") === "example";
  at("numbers-note").textContent = seen
    ? "The model was trained on this series up to its end: this shows how it answers, not how good it is."
    : "";
}

/** Numbers for people, with what the service sent as their value. */
function cell(values, write) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const parts = known.flatMap((value, place) => [place ? " to " : "", element("data", write(value), { value })]);
  return element("td", parts.length ? parts : "–");
}

function showCode() {
  const tabs = [...at("protocols").children];
  tabs.forEach((tab, place) => {
    const selected = PROTOCOLS[place] === protocol;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
    if (selected) at("panel").setAttribute("aria-labelledby", tab.id);
  });
  at("code").textContent = code();
  at("protocol-note").textContent = protocol.says + (key ? " Put your key into the variable API_KEY." : "");
  at("copied").textContent = "";
}

function code() {
  if (!given) return "Nothing is picked yet.";
  if (protocol.grpc && model.grpc_port === null) return "This service does not speak gRPC.";
  const grpc = `${new URL(base).hostname}:${model.grpc_port}`;
  return protocol[chosen("language")]({ model, request: request(), base, grpc, key: key !== "" });
}

function showModel() {
  const { lineage } = model, day = (text) => writeTime(parseTime(text), model.step_seconds * 1000, "long");
  const rows = {
    Bento: model.bento,
    "MLflow model": `${lineage.mlflow_name ?? model.name}, version ${model.version}`,
    "MLflow run": lineage.run_id,
    "Git commit": lineage.git_commit,
    "Data hash": lineage.data_hash,
    "Rows trained on": model.training_rows.toLocaleString("en"),
    "Trained from": day(model.trained_from),
    "Trained until": day(model.trained_until),
    Horizon: `${model.horizon} steps of ${model.frequency}`,
    "History wanted": `${model.context_length} values or more`,
    "Covariates known ahead": model.future_covariates.join(", ") || "none",
    "Covariates of the past": model.past_covariates.join(", ") || "none",
  };
  const pair = ([name, value]) => element("div", [element("dt", name), element("dd", value ?? "unknown")]);
  at("model").replaceChildren(...Object.entries(rows).map(pair));
}

async function copy() {
  let done = true;
  try {
    await navigator.clipboard.writeText(at("code").textContent);
  } catch {
    getSelection().selectAllChildren(at("code")); // browsers keep the clipboard from pages that came by plain HTTP
    done = document.execCommand("copy");
  }
  at("copied").textContent = done ? "Copied." : "Selected: copy it with Ctrl+C.";
}

function say(text, kind = "") {
  at("said").textContent = text;
  at("said").className = kind;
}

function element(name, content, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...[content].flat());
  return made;
}

/** Run what a control asks for; a refusal is said on the page. */
async function run(action, event) {
  try {
    await action(event);
  } catch (err) {
    if (!(err instanceof Refusal || err instanceof TableError)) throw err;
    if (at("loaded").inert) at("fault").textContent = err.message;
    else say(err.message, "fault");
  }
}

function on(target, name, action) {
  target.addEventListener(name, (event) => {
    if (name === "submit") event.preventDefault();
    run(action, event);
  });
}

PROTOCOLS.forEach((one, place) => {
  const tab = element("button", one.name, { type: "button", role: "tab", id: `tab-${place}` });
  tab.setAttribute("aria-controls", "panel");
  on(tab, "click", () => {
    protocol = one;
    showCode();
  });
  at("protocols").append(tab);
});
on(at("protocols"), "keydown", (event) => {
  const tabs = [...at("protocols").children], here = tabs.indexOf(document.activeElement);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  const tab = tabs.at(next % tabs.length);
  tab.focus();
  tab.click();
});
for (const radio of document.querySelectorAll("input[name=language]")) on(radio, "change", showCode);
for (const radio of document.querySelectorAll("input[name=source]")) on(radio, "change", pick);
for (const id of ["example", "again"]) on(at(id), "change", pick);
for (const id of ["steps", "table"]) on(at(id), "input", pick);
on(at("shown"), "change", show);
on(at("ask"), "submit", forecast);
on(at("copy"), "click", copy);
on(at("begin"), "click", () => {
  at("table").value = writeTable(example(model.horizon).input, model.future_covariates.length ? model.horizon : 0, model);
  pick();
});
on(at("file"), "change", async () => {
  const [file] = at("file").files;
  if (!file) return;
  if (file.size > MOST_BYTES) throw new TableError(`${file.name} has ${file.size} bytes, wanted at most ${MOST_BYTES}.`);
  at("table").value = await file.text();
  pick();
});
on(at("key-form"), "submit", () => {
  key = at("key").value;
  return load();
});
run(load);

// A table of one series as text, made into an input of the Time Series API; a refusal says where, what was got, what is wanted.

import { isoTime, parseTime } from "./times.js";

const MOST_ROWS = 1_000_000;

export class TableError extends Error {}

/**
 * Reads a table: history, then rows with an empty value and the covariates known ahead.
 *
 * With `again`, the last `steps` values are held back, to be forecast and compared with.
 */
export function readTable(text, model, steps, again) {
  const rows = parse(text);
  const table = columns(rows, model);
  const step = model.step_seconds * 1000;
  const known = table.value.findLastIndex((value) => value !== null) + 1;
  const end = again ? Math.max(0, known - steps) : known;
  const first = start(table, model, end, again ? `Without the ${known - end} values that are forecast again, the` : "The");
  const cut = (names, from, to) => Object.fromEntries(names.map((name) => [name, table[name].slice(from, to)]));
  const input = {
    type: "univariate_time_series",
    name: "table",
    series: table.value.slice(first, end),
    frequency: model.frequency,
    start_timestamp: isoTime(table.begin + first * step),
    past_covariates: cut(model.past_covariates, first, end),
    future_covariates: cut(model.future_covariates, end, end + steps),
  };
  checkAhead(input, steps, isoTime(table.begin + (end - 1) * step));
  return { input, actuals: again ? table.value.slice(end, known) : [] };
}

/** An input as the table that `readTable` reads, with so many lines ahead. */
export function writeTable(input, ahead, model) {
  const names = [...new Set([...model.past_covariates, ...model.future_covariates])];
  const begin = parseTime(input.start_timestamp), size = input.series.length;
  const covariate = (name, place) =>
    place < size ? input.past_covariates?.[name]?.[place] : input.future_covariates?.[name]?.[place - size];
  const lines = [...input.series, ...Array(ahead).fill(null)].map((value, place) => {
    const cells = [isoTime(begin + place * model.step_seconds * 1000), value, ...names.map((name) => covariate(name, place))];
    return cells.map((cell) => cell ?? "").join(",");
  });
  return [["timestamp", "value", ...names].join(","), ...lines, ""].join("\n");
}

/** Rows of cells with the line that each is on; commas, semicolons or tabs, quotes where a cell has them inside. */
function parse(text) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  const count = (mark) => lines[0].split(mark).length;
  const [mark] = [",", ";", "\t"].sort((one, other) => count(other) - count(one));
  const cell = new RegExp(`${mark}(?: *"((?:[^"]|"")*)" *(?=${mark}|$)|([^${mark}]*))`, "gy");
  return lines
    .map((line, place) => ({
      line: place + 1,
      cells: [...(mark + line).matchAll(cell)].map(([, quoted, plain]) => (quoted?.replaceAll('""', '"') ?? plain).trim()),
      empty: line.trim() === "",
    }))
    .filter((row) => !row.empty);
}

/** The columns that the model wants, on its grid: null where a row or a value is missing. */
function columns(rows, model) {
  const [head, ...body] = rows;
  if (!head) throw new TableError("The table is empty.");
  const covariates = [...new Set([...model.past_covariates, ...model.future_covariates])];
  const places = place(head.cells, covariates, model);
  const names = ["value", ...covariates];
  const table = Object.fromEntries(names.map((name) => [name, []]));
  const step = model.step_seconds * 1000;
  for (const { line, cells } of body) {
    const got = cells[places.timestamp] ?? "", time = parseTime(got);
    if (Number.isNaN(time)) refuse(line, "timestamp", got, "ISO 8601 such as 2024-05-01T13:00");
    table.begin ??= time;
    const row = (time - table.begin) / step;
    if (row < table.value.length) refuse(line, "timestamp", got, "a time after the line before it: one series, oldest first");
    if (!Number.isInteger(row)) refuse(line, "timestamp", got, `whole steps of ${model.frequency} after the first line`);
    if (row > MOST_ROWS) refuse(line, "timestamp", got, `at most ${MOST_ROWS} steps after the first line`);
    for (const name of names) {
      while (table[name].length < row) table[name].push(null);
      table[name].push(number(cells[places[name]] ?? "", line, name));
    }
  }
  return table;
}

/** Which cell of a line is which column. */
function place(cells, covariates, model) {
  const find = (...names) => cells.findIndex((cell) => names.includes(cell));
  const places = { timestamp: find("timestamp", model.columns.timestamp), value: find("value", model.columns.target) };
  for (const name of covariates) places[name] = find(name);
  const missing = Object.keys(places).filter((name) => places[name] < 0);
  const wanted = Object.keys(places).join(", ");
  if (missing.length) throw new TableError(`Line 1: no column ${missing.join(", ")}: got ${cells.join(", ")}, wanted ${wanted}.`);
  return places;
}

function number(cell, line, name) {
  if (cell === "") return null;
  const value = Number(cell);
  if (!Number.isFinite(value)) refuse(line, name, cell, "a number with a decimal point, or nothing where it is missing");
  return value;
}

/** Where the part of the history begins that is sent: what the model looks at, from a row that is whole. */
function start(table, model, end, without) {
  const whole = (row) => ["value", ...model.past_covariates].every((name) => table[name][row] !== null);
  let first = end - model.context_length;
  while (first > 0 && !whole(first)) first -= 1;
  if (first < 0 || !whole(first))
    throw new TableError(`${without} history has ${end} rows, wanted ${model.context_length} or more, the first of them whole.`);
  return first;
}

function checkAhead(input, steps, last) {
  for (const [name, values] of Object.entries(input.future_covariates)) {
    const got = values.filter((value) => value !== null).length;
    if (got < steps)
      throw new TableError(
        `${name}: got ${got} values after the last value at ${last}, wanted ${steps}: add lines with an empty value and the ` +
          "covariates known ahead, or have the last values forecast again.",
      );
  }
}

function refuse(line, name, got, wanted) {
  throw new TableError(`Line ${line}, ${name}: got ${JSON.stringify(got.slice(0, 60))}, wanted ${wanted}.`);
}

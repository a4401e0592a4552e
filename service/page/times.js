// Wall time as milliseconds since 1970: what a table says is never moved between time zones.

const SHAPE = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?$/;
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR, MONTH = 30 * DAY;
const TICKS = [
  ...[1, 5, 15, 30].map((count) => count * SECOND),
  ...[1, 5, 15, 30].map((count) => count * MINUTE),
  ...[1, 3, 6, 12].map((count) => count * HOUR),
  ...[1, 2, 7, 14].map((count) => count * DAY),
  ...[1, 3, 12, 60, 120, 600, 2400].map((count) => count * MONTH),
];
/** 1970 began on a Thursday; ticks of whole weeks fall on Mondays. */
const MONDAY = 4 * DAY;

const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options }).format;
const CLOCK = { hour: "2-digit", minute: "2-digit" }, SECONDS = { ...CLOCK, second: "2-digit" };
const DATE = { day: "numeric", month: "short" }, LONG = { weekday: "short", ...DATE, year: "numeric" };
const YEAR = { year: "numeric" };
const FORMATS = {
  tick: { second: format(SECONDS), clock: format(CLOCK), day: format(DATE), month: format({ month: "short", ...YEAR }) },
  short: { second: format({ ...DATE, ...SECONDS }), clock: format({ ...DATE, ...CLOCK }), day: format({ ...DATE, ...YEAR }) },
  long: { second: format({ ...LONG, ...SECONDS }), clock: format({ ...LONG, ...CLOCK }), day: format(LONG) },
};

/** NaN if the text is no ISO 8601 timestamp; an offset is dropped, as the service does. */
export function parseTime(text) {
  const found = SHAPE.exec(text);
  if (!found) return NaN;
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const time = Date.UTC(year, month - 1, day, hour, minute, second);
  const isReal = hour < 24 && minute < 60 && second < 60 && isoTime(time).startsWith(text.slice(0, 10));
  return isReal ? time : NaN;
}

/** As the service writes times. */
export function isoTime(time) {
  return new Date(time).toISOString().slice(0, 19);
}

/** For people, `short` or `long`, as exactly as the steps need. */
export function writeTime(time, step, kind) {
  return FORMATS[kind][step % MINUTE ? "second" : step % DAY ? "clock" : "day"](time);
}

/** Times of at most `most` ticks between two times, each with its label. */
export function timeTicks(from, to, step, most) {
  const least = Math.max(step, (to - from) / most);
  const every = TICKS.find((size) => size >= least) ?? TICKS.at(-1);
  if (every >= MONTH) return months(from, to, every / MONTH).map((time) => ({ time, label: FORMATS.tick.month(time) }));
  const shift = every % (7 * DAY) ? 0 : MONDAY;
  const ticks = [];
  for (let time = Math.ceil((from - shift) / every) * every + shift; time <= to; time += every) {
    const kind = time % DAY === 0 ? "day" : every < MINUTE ? "second" : "clock";
    ticks.push({ time, label: FORMATS.tick[kind](time) });
  }
  return ticks;
}

/** The first moments of every so many months. */
function months(from, to, count) {
  const starts = [];
  let month = Math.floor((new Date(from).getUTCFullYear() * 12) / count) * count, time = -Infinity;
  for (; time <= to; month += count) {
    if (time >= from) starts.push(time);
    time = Date.UTC(Math.floor(month / 12), month % 12);
  }
  return starts;
}

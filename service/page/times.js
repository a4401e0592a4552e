// Wall time as milliseconds since 1970: what a table says is never moved between time zones.

const SHAPE = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?$/;
const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const TICKS = [
  ...[1, 5, 15, 30].map((count) => count * MINUTE),
  ...[1, 3, 6, 12].map((count) => count * HOUR),
  ...[1, 2, 7, 14, 28, 91, 364, 1820, 3640].map((count) => count * DAY),
];
/** 1970 began on a Thursday; ticks of whole weeks fall on Mondays. */
const MONDAY = 4 * DAY;

const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const CLOCK = { hour: "2-digit", minute: "2-digit" };
const DATE = { day: "numeric", month: "short" };
const LONG = { weekday: "short", ...DATE, year: "numeric" };
const FORMATS = {
  clock: format(CLOCK),
  day: format(DATE),
  month: format({ month: "short", year: "numeric" }),
  short: format({ ...DATE, ...CLOCK }),
  shortDay: format({ ...DATE, year: "numeric" }),
  long: format({ ...LONG, ...CLOCK }),
  longDay: format(LONG),
};

/** NaN if the text is no ISO 8601 timestamp; an offset is dropped, as the service does. */
export function parseTime(text) {
  const found = SHAPE.exec(text);
  if (!found) return NaN;
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const time = Date.UTC(year, month - 1, day, hour, minute, second);
  return hour < 24 && minute < 60 && second < 60 && new Date(time).getUTCDate() === day ? time : NaN;
}

/** As the service writes times. */
export function isoTime(time) {
  return new Date(time).toISOString().slice(0, 19);
}

/** For people, `short` or `long`; the clock is left out where steps are whole days. */
export function writeTime(time, step, kind) {
  return FORMATS[step % DAY ? kind : `${kind}Day`].format(time);
}

/** Times of at most `most` ticks between two times, each with its label. */
export function timeTicks(from, to, step, most) {
  const least = Math.max(step, (to - from) / most);
  const every = TICKS.find((size) => size >= least) ?? Math.ceil(least / DAY) * DAY;
  const shift = every % (7 * DAY) ? 0 : MONDAY;
  const ticks = [];
  for (let time = Math.ceil((from - shift) / every) * every + shift; time <= to; time += every) {
    const kind = every >= 28 * DAY ? "month" : time % DAY === 0 ? "day" : "clock";
    ticks.push({ time, label: FORMATS[kind].format(time) });
  }
  return ticks;
}

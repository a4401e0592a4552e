// Numbers for people: as many digits as their size calls for, and round ones for an axis.

/** Writes numbers with as many digits as these need, four at most; nothing for what is missing. */
export function writer(values) {
  const known = values.filter((value) => value !== null && value !== 0).map(Math.abs);
  const size = known.length ? Math.floor(Math.log10(Math.max(...known))) : 0;
  const format = fixed(known.every(Number.isInteger) ? 0 : 3 - size);
  return (value) => (value === null || value === undefined ? "" : format(value));
}

/** Round values that begin and end at or outside two values, about `most` of them, each with its label. */
export function ticks(low, high, most) {
  const raw = (high - low || Math.abs(high) || 1) / most;
  const size = 10 ** Math.floor(Math.log10(raw));
  const every = [1, 2, 5, 10].find((factor) => factor * size >= raw) * size;
  const first = Math.floor(low / every + 1e-9), last = Math.max(first + 1, Math.ceil(high / every - 1e-9));
  const format = fixed(-Math.floor(Math.log10(every)));
  return Array.from({ length: last - first + 1 }, (_, place) => {
    const value = (first + place) * every;
    return { value, label: format(value) };
  });
}

function fixed(digits) {
  const most = Math.min(12, Math.max(0, digits));
  return new Intl.NumberFormat("en", { minimumFractionDigits: most, maximumFractionDigits: most }).format;
}

/** Times as people read them, and the marks of a time axis. */

/** 1:05, or 1:05.3 with one digit, or 1:02:05 of long songs. */
export function clock(seconds: number, digits = 0): string {
  const factor = 10 ** digits;
  // rounding before splitting, so that there is no 0:60
  const whole = digits === 0 ? Math.floor(seconds + 1e-6) : Math.round(seconds * factor) / factor;
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(digits).padStart(digits === 0 ? 2 : digits + 3, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** The same for ears: "1 minute 5 seconds". */
export function spoken(seconds: number): string {
  const whole = Math.floor(seconds + 1e-6);
  const parts: [number, string][] = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ];
  const said = parts.filter(([count, unit]) => count > 0 || (unit === "second" && whole === 0));
  return said.map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`).join(" ");
}

export interface Tick {
  time: number;
  /** Empty for marks between those with a label. */
  label: string;
}

/** Seconds between labels, and into how many parts each is divided. */
const STEPS: [number, number][] = [
  [0.01, 2], [0.02, 2], [0.05, 5], [0.1, 2], [0.2, 2], [0.5, 5], [1, 2], [2, 2], [5, 5], [10, 2], [15, 3],
  [30, 3], [60, 4], [120, 2], [300, 5], [600, 2], [900, 3], [1800, 3], [3600, 4],
]; // prettier-ignore

/** Marks for an axis of `width` pixels, with labels at least `space` pixels apart. */
export function ticks(duration: number, width: number, space = 76): Tick[] {
  if (!(duration > 0) || !(width > 0)) return [];
  const [step, parts] = STEPS.find(([seconds]) => (seconds / duration) * width >= space) ?? STEPS.at(-1)!;
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const count = Math.floor((duration / step) * parts + 1e-6);
  return Array.from({ length: count + 1 }, (_, index) => ({
    time: (index * step) / parts,
    label: index % parts === 0 ? clock((index / parts) * step, digits) : "",
  }));
}

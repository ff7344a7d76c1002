/** Numbers as people read them. */

/** 3:05 or 1:02:03. */
export function clock(seconds: number): string {
  // seconds that have passed, as the player counts them
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  const two = (value: number): string => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${two(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
}

/** "12 s left", "3 min left": rounded up, so that it never promises too much. */
export function remaining(seconds: number): string {
  if (seconds < 1) return "nearly done";
  if (seconds < 60) return `${Math.ceil(seconds)} s left`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min left`;
  return `${Math.floor(seconds / 3600)} h ${Math.ceil((seconds % 3600) / 60)} min left`;
}

export function percent(share: number): string {
  return `${Math.floor(share * 100)} %`;
}

export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} ${units[unit]}`;
}

/** "next", "2nd", "3rd" in the queue. */
export function place(position: number): string {
  if (position <= 1) return "next in the queue";
  const teen = position % 100 > 10 && position % 100 < 14;
  const ending = teen ? "th" : (["th", "st", "nd", "rd"][position % 10] ?? "th");
  return `${position}${ending} in the queue`;
}

export function date(iso: string): string {
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long" }).format(new Date(iso));
}

/** "vocals, drums and bass". */
export function list(words: string[]): string {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

export function songs(count: number): string {
  return count === 1 ? "1 song" : `${count} songs`;
}

/** The display name without the ending that every recording has. */
export function title(name: string): string {
  return name.replace(/(\.stem)?\.[a-z0-9]{2,5}$/i, "") || name;
}

/** When a stem plays: how probable it is, as height, and its segments as bars. */

import { svg } from "./dom";
import type { Activity, Track } from "./multitrack";

const HEIGHT = 100;
const COLUMNS = 2000;

export function drawLane(track: Track, activity: Activity): SVGSVGElement {
  const { duration } = track;
  const share = `${Math.round(activity.share * 100)} % of the time`;
  const lane = svg("svg", {
    class: "lane",
    viewBox: `0 0 ${COLUMNS} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `${track.name} plays ${share}`,
  });
  const x = (time: number): number => (duration > 0 ? Math.min(1, time / duration) * COLUMNS : 0);
  for (const [start, end] of activity.segments) {
    // a segment is never thinner than a line
    const width = Math.max(x(end) - x(start), 1.5).toFixed(2);
    const place = { x: x(start).toFixed(2), width };
    lane.append(svg("rect", { ...place, class: "span", y: 0, height: HEIGHT }));
    lane.append(svg("rect", { ...place, class: "bar", y: HEIGHT * 0.78, height: HEIGHT * 0.22 }));
  }
  lane.prepend(svg("path", { class: "probability", d: outline(activity, x) }));
  return lane;
}

/** What a stem's waveform is covered with while it is left out inside its segments. */
export function drawCuts(track: Track, activity: Activity): SVGSVGElement {
  const cuts = svg("svg", {
    class: "cuts",
    viewBox: `0 0 ${track.duration || 1} 1`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  for (const [start, end] of activity.segments) {
    cuts.append(svg("rect", { x: start, width: Math.max(0, end - start), y: 0, height: 1 }));
  }
  return cuts;
}

/** The area below the probability; frames that share a column show their highest. */
function outline({ probability, frame_rate }: Activity, x: (time: number) => number): string {
  const columns = Math.min(probability.length, COLUMNS);
  const parts = [`M0 ${HEIGHT}`];
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((column * probability.length) / columns);
    const last = Math.floor(((column + 1) * probability.length) / columns);
    const y = (HEIGHT * (1 - Math.max(...probability.slice(first, last)))).toFixed(1);
    // a frame is centred at its time
    const [left, right] = [first, last].map((frame) => x(Math.max(0, frame - 0.5) / frame_rate).toFixed(1));
    parts.push(`L${left} ${y}L${right} ${y}`);
  }
  return `${parts.join("")}V${HEIGHT}Z`;
}

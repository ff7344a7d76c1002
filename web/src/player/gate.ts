/** How far inside its segments a stem is: 0 outside, 1 inside, as stemwise.remix has it. */

/** Seconds in which the volume changes at the ends of a segment, inside of it. */
export const FADE = 0.02;
/** A raised cosine as so many straight pieces. */
const STEPS = 8;

export interface Point {
  time: number;
  depth: number;
}

export class Gate {
  private readonly points: Point[] = [];

  constructor(segments: readonly (readonly [number, number])[]) {
    for (const [start, end] of segments) this.add(start, end);
  }

  private add(start: number, end: number): void {
    if (!(end > start)) return;
    const fade = Math.min(FADE, (end - start) / 2);
    if (start <= 0) this.points.push({ time: Math.min(start, 0), depth: 1 });
    for (let step = 0; start > 0 && step <= STEPS; step++) {
      this.points.push({ time: start + (fade * step) / STEPS, depth: raised(step / STEPS) });
    }
    for (let step = STEPS; step >= 0; step--) {
      this.points.push({ time: end - (fade * step) / STEPS, depth: raised(step / STEPS) });
    }
  }

  /** Depth at a time in seconds. */
  at(time: number): number {
    const next = this.after(time);
    const right = this.points[next];
    const left = this.points[next - 1];
    if (left === undefined || right === undefined) return 0;
    if (right.time === left.time) return right.depth;
    return left.depth + ((right.depth - left.depth) * (time - left.time)) / (right.time - left.time);
  }

  /** The corners of the curve strictly between two times. */
  between(start: number, end: number): Point[] {
    const found: Point[] = [];
    for (let index = this.after(start); index < this.points.length; index++) {
      const point = this.points[index]!;
      if (point.time >= end) break;
      if (point.time > start) found.push(point);
    }
    return found;
  }

  /** Index of the first point later than `time`. */
  private after(time: number): number {
    let low = 0;
    let high = this.points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.points[middle]!.time <= time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const raised = (x: number): number => 0.5 - 0.5 * Math.cos(Math.PI * x);

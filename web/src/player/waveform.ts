/** Waveforms: wavesurfer.js lays them out and redraws them, from peaks that were measured before. */

import WaveSurfer from "wavesurfer.js";
import type { Peaks, Track } from "./multitrack";

/** Amplitudes are drawn to this power, so that a bass 20 dB below the drums is still to be seen. */
const POWER = 0.6;
const PALE = 0.42;

/** The loudest peak of a song: what fills the height of a row. */
export function loudest(tracks: Track[]): number {
  let highest = 0;
  for (const { peaks } of tracks) {
    for (const high of peaks.highs) highest = Math.max(highest, high);
    for (const low of peaks.lows) highest = Math.max(highest, -low);
  }
  return highest;
}

export function drawWaveform(
  container: HTMLElement,
  track: Track,
  scale: number,
  cspNonce: string | undefined,
): WaveSurfer {
  return WaveSurfer.create({
    container,
    height: "auto",
    duration: Math.max(track.duration, 1e-3),
    peaks: shown(track.peaks, scale),
    interact: false,
    cursorWidth: 0,
    hideScrollbar: true,
    renderFunction: (parts, context) => render(parts, context, getComputedStyle(container).color),
    ...(cspNonce === undefined ? {} : { cspNonce }),
  });
}

/**
 * Drawn heights, -1..1, in the two channels that wavesurfer.js hands on. Each column takes two places
 * of both: high and low in the first, RMS and NaN in the second, which tells them apart in any part.
 */
function shown({ highs, lows, rms }: Peaks, scale: number): Float32Array[] {
  const drawn = (value = 0): number => Math.sign(value) * Math.abs(value * scale) ** POWER;
  const columns = Math.max(1, highs.length);
  const extremes = new Float32Array(2 * columns);
  const bodies = new Float32Array(2 * columns).fill(NaN);
  for (let i = 0; i < columns; i++) {
    extremes[2 * i] = drawn(highs[i]);
    extremes[2 * i + 1] = drawn(lows[i]);
    bodies[2 * i] = drawn(rms[i]);
  }
  return [extremes, bodies];
}

/** Pale between highs and lows, solid where the root mean square is. */
function render(parts: (Float32Array | number[])[], context: CanvasRenderingContext2D, colour: string): void {
  const [extremes, bodies] = parts as [Float32Array, Float32Array];
  const first = Number.isNaN(bodies[0]) ? 1 : 0;
  const every = (values: Float32Array, from: number): Float32Array =>
    Float32Array.from({ length: (values.length - first) >> 1 }, (_, index) => values[from + 2 * index]!);
  const rms = every(bodies, first);
  context.fillStyle = colour;
  context.globalAlpha = PALE;
  band(context, every(extremes, first), every(extremes, first + 1));
  context.globalAlpha = 1;
  band(context, rms, rms.map((value) => -value));
}

function band(context: CanvasRenderingContext2D, top: Float32Array, bottom: Float32Array): void {
  const { width, height } = context.canvas;
  const middle = height / 2;
  // half a pixel at least, so that silence is a line and not a hole
  const upper = (value: number): number => Math.min(middle - value * (middle - 1), middle - 0.5);
  const lower = (value: number): number => Math.max(middle - value * (middle - 1), middle + 0.5);
  const columns = Math.min(top.length, Math.ceil(width));
  context.beginPath();
  const edge = (index: number): number => (index / columns) * width;
  for (let i = 0; i < columns; i++) {
    const y = upper(most(top, i, columns, Math.max));
    context.lineTo(edge(i), y);
    context.lineTo(edge(i + 1), y);
  }
  for (let i = columns - 1; i >= 0; i--) {
    const y = lower(most(bottom, i, columns, Math.min));
    context.lineTo(edge(i + 1), y);
    context.lineTo(edge(i), y);
  }
  context.fill();
}

/** The extreme of the values that share a column. */
function most(values: Float32Array, column: number, columns: number, extreme: (...all: number[]) => number): number {
  const first = Math.floor((column * values.length) / columns);
  const last = Math.max(first + 1, Math.floor(((column + 1) * values.length) / columns));
  let found = values[first] ?? 0;
  for (let i = first + 1; i < last; i++) found = extreme(found, values[i]!);
  return found;
}

/** One track of the mixer: sources -> gate -> volume -> analyser. Times are the context's. */

import { EmbeddedSource } from "./embedded";
import type { Loudness } from "./engine";
import { Gate } from "./gate";
import type { Track } from "./multitrack";
import type { Source } from "./sources";
import { WavSource } from "./wav";

/** Seconds: a volume comes within a hundredth of where it goes in 4.6 times that. */
const GLIDE = 0.008;
/** Seconds in which the gate begins or ceases to follow the activity. */
const SETTLE = 0.01;

/** Samples start..end of the song, heard from the context's sample `when` on. */
export interface Piece {
  start: number;
  end: number;
  when: number;
}

/** The context's sample at which a piece is over. */
export const over = ({ start, end, when }: Piece): number => when + end - start;

export class Channel {
  readonly source: Source;
  /** Its audio cannot be had; told once, and tried again when playing begins anew. */
  failed = false;
  private readonly gate: GainNode;
  private readonly volume: GainNode;
  private readonly analyser: AnalyserNode;
  private readonly curve: Gate;
  private readonly rate: number;
  private loudness: Loudness = { gain: 0, onlyActive: false };

  constructor(
    readonly track: Track,
    private readonly context: AudioContext,
    output: AudioNode,
  ) {
    const { kind, url } = track.audio;
    this.rate = context.sampleRate;
    this.source = kind === "wav" ? new WavSource(url) : new EmbeddedSource(url, this.rate);
    this.curve = new Gate(track.activity?.segments ?? []);
    this.gate = context.createGain();
    this.volume = context.createGain();
    this.volume.gain.value = 0;
    this.analyser = createAnalyser(context);
    this.gate.connect(this.volume).connect(this.analyser).connect(output);
  }

  /** A source that plays `audio` from `offset` seconds on for as long as the piece. */
  voice(audio: AudioBuffer, piece: Piece, offset: number): AudioBufferSourceNode | null {
    if (offset >= audio.duration) return null;
    const voice = this.context.createBufferSource();
    voice.buffer = audio;
    voice.connect(this.gate);
    voice.start(piece.when / this.rate, offset);
    voice.stop(over(piece) / this.rate);
    return voice;
  }

  level(samples: Float32Array<ArrayBuffer>): number {
    return rms(this.analyser, samples);
  }

  /** position: the song's sample that is heard now; pieces: what is scheduled. */
  setLoudness(loudness: Loudness, position: number, pieces: Piece[]): void {
    const { gain, onlyActive } = this.loudness;
    if (gain === loudness.gain && onlyActive === loudness.onlyActive) return;
    const before = this.gateAt(position);
    this.loudness = loudness;
    const now = this.context.currentTime;
    glide(this.volume.gain, loudness.onlyActive ? 1 : loudness.gain, now);
    if (!onlyActive && !loudness.onlyActive) return;
    const settled = now + SETTLE;
    const ahead = pieces.filter((piece) => over(piece) / this.rate > settled);
    const first = ahead[0];
    const reached = first === undefined ? position : first.start + Math.max(0, settled * this.rate - first.when);
    this.gate.gain.cancelScheduledValues(now);
    this.gate.gain.setValueAtTime(before, now);
    this.gate.gain.linearRampToValueAtTime(this.gateAt(reached), settled);
    if (loudness.onlyActive) for (const piece of ahead) this.automate(piece, settled);
  }

  /** Writes the gate of one piece, as far as it lies after the time `from`. */
  automate(piece: Piece, from = 0): void {
    const { gain } = this.gate;
    const begin = Math.max(piece.when, Math.ceil(from * this.rate));
    const start = piece.start + begin - piece.when;
    gain.setValueAtTime(this.gateAt(start), begin / this.rate);
    if (!this.loudness.onlyActive) return;
    // the very number at which the next piece begins: a rounding later would undo its first value
    const end = over(piece) / this.rate;
    const shift = (piece.when - piece.start) / this.rate;
    for (const { time, depth } of this.curve.between(start / this.rate, piece.end / this.rate)) {
      gain.linearRampToValueAtTime(this.gained(depth), Math.min(end, shift + time));
    }
    gain.linearRampToValueAtTime(this.gateAt(piece.end), end);
  }

  /** Forgets what the gate was to do from `time` on, where the song will be at sample `position`. */
  replan(time: number, position: number): void {
    this.gate.gain.cancelScheduledValues(time);
    this.gate.gain.setValueAtTime(this.gateAt(position), time);
  }

  /** Keeps the gate as it is now. */
  freeze(now: number): void {
    hold(this.gate.gain, now);
  }

  private gateAt(position: number): number {
    return this.loudness.onlyActive ? this.gained(this.curve.at(position / this.rate)) : 1;
  }

  private gained(depth: number): number {
    return 1 + (this.loudness.gain - 1) * depth;
  }
}

export function createAnalyser(context: AudioContext): AnalyserNode {
  const analyser = context.createAnalyser();
  analyser.fftSize = 2048;
  return analyser;
}

export function rms(analyser: AnalyserNode, samples: Float32Array<ArrayBuffer>): number {
  analyser.getFloatTimeDomainData(samples);
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return Math.sqrt(power / samples.length);
}

export function glide(param: AudioParam, value: number, now: number): void {
  hold(param, now);
  param.setTargetAtTime(value, now, GLIDE);
}

/** Keeps the value that a parameter has now; Firefox has no cancelAndHoldAtTime. */
export function hold(param: AudioParam, now: number): void {
  if ("cancelAndHoldAtTime" in param) param.cancelAndHoldAtTime(now);
  else (param as AudioParam).cancelScheduledValues(now);
}

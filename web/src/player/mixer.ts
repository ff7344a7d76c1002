/**
 * Plays all tracks in one Web Audio graph, in step to the sample.
 *
 * Per track: sources -> gate -> volume -> analyser -> master -> seam -> output. The song is cut into
 * pieces, which end at the borders of stretches, at the end of a loop and at the song's end; the
 * sources of all tracks for one piece start at the same time of the context. Times are counted in
 * the context's samples. The seam fades out and in wherever the song jumps.
 */

import type { Engine, Loop, Loudness, Problem } from "./engine";
import { EmbeddedSource } from "./embedded";
import { Gate } from "./gate";
import type { Multitrack, Track } from "./multitrack";
import { OPUS_RATE } from "./opus";
import { STRETCH, type Source } from "./sources";
import { WavSource } from "./wav";

/** Seconds of audio that are always scheduled, more than a page in the background sleeps. */
const AHEAD = 5;
/** Seconds between a decision and its first sample. */
const LEAD = 0.04;
/** Seconds of the fades at jumps. */
const SEAM = 0.005;
/** Seconds in which a volume comes within a hundredth of where it goes, times 4.6. */
const GLIDE = 0.008;
/** Seconds after which a paused context is put to sleep. */
const IDLE = 2;
const SHORTEST_LOOP = 0.1;

interface Channel {
  track: Track;
  source: Source;
  gate: GainNode;
  volume: GainNode;
  analyser: AnalyserNode;
  curve: Gate;
  loudness: Loudness;
  failed: boolean;
}

/** Samples start..end of the song, heard from the context's sample `when` on. */
interface Piece {
  start: number;
  end: number;
  when: number;
}

/** One stretch of uninterrupted playing: from play or seek to pause or seek. */
interface Run {
  pieces: Piece[];
  voices: Set<AudioBufferSourceNode>;
  /** Where the next piece begins in the song; null after the last. */
  next: number | null;
  /** When it begins; null: as soon as can be. */
  when: number | null;
  /** It begins where nothing was heard, or something else. */
  fadeIn: boolean;
  filling: boolean;
}

export class Mixer extends EventTarget implements Engine {
  readonly loudest = 4;
  readonly problems: Problem[] = [];
  playing = false;
  private readonly context: AudioContext;
  private readonly rate: number;
  private readonly length: number;
  private readonly channels: Map<string, Channel>;
  private readonly master: GainNode;
  private readonly seam: GainNode;
  private readonly meter: AnalyserNode;
  private readonly samples: Float32Array<ArrayBuffer>;
  private run: Run | null = null;
  private at = 0;
  private loop: { start: number; end: number } | null = null;
  private timer = 0;
  private sleep = 0;
  private wasWaiting = false;

  constructor(song: Multitrack) {
    super();
    const opus = song.tracks.some(({ audio }) => audio.url.startsWith("data:audio/ogg"));
    this.context = createContext(opus ? OPUS_RATE : song.sample_rate);
    void this.context.suspend(); // until it is played
    this.rate = this.context.sampleRate;
    this.length = Math.round(song.duration * this.rate);
    this.master = this.context.createGain();
    this.seam = this.context.createGain();
    this.seam.gain.value = 0;
    this.meter = this.analyser();
    this.samples = new Float32Array(this.meter.fftSize);
    this.master.connect(this.seam).connect(this.meter).connect(this.context.destination);
    this.channels = new Map(song.tracks.map((track) => [track.name, this.channel(track)]));
  }

  private analyser(): AnalyserNode {
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 2048;
    return analyser;
  }

  private channel(track: Track): Channel {
    const { kind, url } = track.audio;
    const gate = this.context.createGain();
    const volume = this.context.createGain();
    const analyser = this.analyser();
    volume.gain.value = 0;
    gate.connect(volume).connect(analyser).connect(this.master);
    return {
      track,
      source: kind === "wav" ? new WavSource(url) : new EmbeddedSource(url, this.rate),
      gate,
      volume,
      analyser,
      curve: new Gate(track.activity?.segments ?? []),
      loudness: { gain: 0, onlyActive: false },
      failed: false,
    };
  }

  get waiting(): boolean {
    return this.playing && !this.heard(this.now());
  }

  /** One after another, so that a page full of songs does not decode all of them at once. */
  prepare(): void {
    void (async () => {
      for (const channel of this.channels.values()) {
        await channel.source.prepare().catch((error: unknown) => this.fail(channel, error));
      }
    })();
  }

  async play(): Promise<void> {
    if (this.playing) return;
    for (const channel of this.channels.values()) channel.failed = false;
    this.problems.length = 0;
    window.clearTimeout(this.sleep);
    if (this.at >= this.length) this.at = this.loop?.start ?? 0;
    this.playing = true;
    this.begin(this.at);
    this.timer = window.setInterval(() => this.tick(), 50);
    this.announce();
    await this.context.resume();
  }

  pause(): void {
    if (!this.playing) return;
    this.at = this.songPosition(this.now());
    this.stop();
  }

  private stop(): void {
    this.playing = false;
    window.clearInterval(this.timer);
    this.leave();
    this.sleep = window.setTimeout(() => void this.context.suspend(), IDLE * 1000);
    this.announce();
  }

  seek(seconds: number): void {
    this.at = this.clamp(seconds);
    if (!this.playing) return;
    this.leave();
    this.begin(this.at);
    this.announce();
  }

  setLoop(loop: Loop | null): void {
    this.loop = loop === null ? null : this.quantised(loop);
    if (!this.playing || this.run === null) return;
    const position = this.songPosition(this.now());
    const change = this.now() + this.frames(LEAD);
    const piece = this.run.pieces.find(({ start, end, when }) => when <= change && change < when + end - start);
    const next = piece === undefined ? null : piece.start + change - piece.when;
    if (this.loop !== null && (position >= this.loop.end || (next !== null && next >= this.loop.end))) {
      this.seek(this.loop.start / this.rate);
    } else if (next === null) {
      this.seek(position / this.rate);
    } else {
      this.replan(this.run, change, next);
    }
  }

  /** What was scheduled from the context's sample `change` on gives way to a new plan, unheard. */
  private replan(old: Run, change: number, next: number): void {
    const time = change / this.rate;
    for (const voice of old.voices) voice.stop(time);
    for (const param of this.automated()) param.cancelScheduledValues(time);
    this.seam.gain.setValueAtTime(1, time);
    for (const channel of this.channels.values()) {
      channel.gate.gain.setValueAtTime(this.gateAt(channel, next), time);
    }
    const pieces = old.pieces
      .filter((piece) => piece.when < change)
      .map((piece) => ({ ...piece, end: Math.min(piece.end, piece.start + change - piece.when) }));
    this.run = { pieces, voices: old.voices, next, when: change, fadeIn: false, filling: false };
    void this.fill(this.run);
  }

  setLoudness(track: string, loudness: Loudness): void {
    const channel = this.channels.get(track);
    if (channel === undefined) return;
    const { gain, onlyActive } = channel.loudness;
    if (gain === loudness.gain && onlyActive === loudness.onlyActive) return;
    const before = this.gateValue(channel);
    channel.loudness = loudness;
    const { volume, gate } = channel;
    glide(volume.gain, loudness.onlyActive ? 1 : loudness.gain, this.context.currentTime);
    if (!onlyActive && !loudness.onlyActive) return;
    const now = this.context.currentTime;
    const settled = now + 2 * SEAM;
    gate.gain.cancelScheduledValues(now);
    gate.gain.setValueAtTime(before, now);
    const pieces = this.run?.pieces.filter(({ start, end, when }) => (when + end - start) / this.rate > settled) ?? [];
    const first = pieces[0];
    const reached = first === undefined ? 0 : first.start + Math.max(0, settled * this.rate - first.when);
    gate.gain.linearRampToValueAtTime(this.gateAt(channel, reached), settled);
    if (loudness.onlyActive) for (const piece of pieces) this.automate(channel, piece, settled);
  }

  setMaster(gain: number): void {
    glide(this.master.gain, gain, this.context.currentTime);
  }

  position(): number {
    return (this.playing ? this.songPosition(this.now()) : this.at) / this.rate;
  }

  level(track: string): number {
    const analyser = track === "master" ? this.meter : this.channels.get(track)?.analyser;
    if (analyser === undefined || !this.playing || this.waiting) return 0;
    analyser.getFloatTimeDomainData(this.samples);
    let power = 0;
    for (const sample of this.samples) power += sample * sample;
    return Math.sqrt(power / this.samples.length);
  }

  destroy(): void {
    window.clearInterval(this.timer);
    window.clearTimeout(this.sleep);
    this.playing = false;
    this.run = null;
    for (const { source } of this.channels.values()) source.release();
    void this.context.close();
  }

  // ---- scheduling

  private begin(position: number): void {
    const inside = this.loop !== null && position >= this.loop.end ? this.loop.start : position;
    this.run = { pieces: [], voices: new Set(), next: inside, when: null, fadeIn: true, filling: false };
    void this.fill(this.run);
  }

  /** Fades out what is heard. */
  private leave(): void {
    const now = this.context.currentTime;
    const silent = now + 4 * SEAM;
    for (const param of this.automated()) hold(param, now);
    this.seam.gain.setTargetAtTime(0, now, SEAM / 2);
    for (const voice of this.run?.voices ?? []) voice.stop(silent);
    this.run = null;
  }

  private *automated(): Iterable<AudioParam> {
    yield this.seam.gain;
    for (const { gate } of this.channels.values()) yield gate.gain;
  }

  private tick(): void {
    const run = this.run;
    if (run === null) return;
    const now = this.now();
    const last = run.pieces.at(-1);
    if (run.next === null && last !== undefined && now >= last.when + last.end - last.start) {
      this.at = this.length;
      this.stop();
      this.dispatchEvent(new Event("end"));
      return;
    }
    // the last one stays: it tells where the song is when no more comes
    run.pieces = run.pieces.filter(
      ({ start, end, when }, index, all) => index === all.length - 1 || when + end - start > now - this.rate,
    );
    void this.fill(run);
    if (this.waiting !== this.wasWaiting) this.announce();
  }

  /** Schedules pieces until enough of the song lies ahead. */
  private async fill(run: Run): Promise<void> {
    if (run.filling) return;
    run.filling = true;
    while (this.run === run && run.next !== null) {
      if (run.when !== null && run.when - this.now() > this.frames(AHEAD)) break;
      const [end, next] = this.cut(run.next);
      const index = Math.floor(run.next / this.frames(STRETCH));
      const channels = [...this.channels.values()];
      const buffers = await Promise.all(channels.map((channel) => this.fetch(channel, index)));
      if (this.run !== run) return;
      this.schedule(run, run.next, end, channels, buffers, index);
      run.fadeIn = next !== end;
      run.next = next;
    }
    run.filling = false;
  }

  /** Where a piece from `start` ends, and where the song goes on; null: nowhere. */
  private cut(start: number): [number, number | null] {
    const stretch = this.frames(STRETCH);
    const border = (Math.floor(start / stretch) + 1) * stretch;
    if (this.loop !== null && start < this.loop.end && this.loop.end <= border) {
      return [this.loop.end, this.loop.start];
    }
    if (border >= this.length) return [this.length, null];
    return [border, border];
  }

  private async fetch(channel: Channel, index: number): Promise<AudioBuffer | null> {
    if (channel.failed) return null;
    try {
      return await channel.source.stretch(index);
    } catch (error) {
      this.fail(channel, error);
      return null;
    }
  }

  private fail(channel: Channel, error: unknown): void {
    if (channel.failed) return;
    channel.failed = true;
    this.problems.push({ track: channel.track.name, text: error instanceof Error ? error.message : String(error) });
    this.announce();
  }

  private schedule(
    run: Run,
    start: number,
    end: number,
    channels: Channel[],
    buffers: (AudioBuffer | null)[],
    index: number,
  ): void {
    const soon = this.now() + this.frames(LEAD);
    const late = run.when === null || run.when < this.now() + this.frames(LEAD / 4);
    const when = late ? soon : run.when!;
    const piece = { start, end, when };
    if (late || run.fadeIn) this.join(run, when, late);
    channels.forEach((channel, place) => {
      const audio = buffers[place];
      if (audio) this.voice(run, channel, audio, piece, start / this.rate - index * STRETCH);
      if (channel.loudness.onlyActive || late) this.automate(channel, piece, 0);
    });
    run.pieces.push(piece);
    run.when = when + end - start;
    if (this.waiting !== this.wasWaiting) this.announce();
  }

  /** The fades where the song jumps, or begins. */
  private join(run: Run, when: number, late: boolean): void {
    const time = when / this.rate;
    const { gain } = this.seam;
    if (late) {
      hold(gain, this.context.currentTime);
      gain.setTargetAtTime(0, this.context.currentTime, SEAM / 2);
      gain.setValueAtTime(0, time);
    } else if (run.pieces.length > 0) {
      gain.setValueAtTime(1, time - SEAM);
      gain.linearRampToValueAtTime(0, time);
    }
    gain.linearRampToValueAtTime(1, time + SEAM);
  }

  private voice(run: Run, channel: Channel, audio: AudioBuffer, piece: Piece, offset: number): void {
    if (offset >= audio.duration) return;
    const voice = this.context.createBufferSource();
    voice.buffer = audio;
    voice.connect(channel.gate);
    voice.start(piece.when / this.rate, offset);
    voice.stop((piece.when + piece.end - piece.start) / this.rate);
    run.voices.add(voice);
    voice.onended = () => {
      run.voices.delete(voice);
      voice.disconnect();
    };
  }

  // ---- the volume that follows the activity

  /** Writes the gate of one piece, as far as it lies after the context's time `from`. */
  private automate(channel: Channel, piece: Piece, from: number): void {
    const { gain } = channel.gate;
    const begin = Math.max(piece.when, Math.ceil(from * this.rate));
    const start = piece.start + begin - piece.when;
    // the very number at which the next piece begins: a rounding later would undo its first value
    const end = (piece.when + piece.end - piece.start) / this.rate;
    const toContext = (song: number): number => Math.min(end, (piece.when - piece.start) / this.rate + song);
    const { gain: inside } = channel.loudness;
    gain.setValueAtTime(this.gateAt(channel, start), begin / this.rate);
    if (!channel.loudness.onlyActive) return;
    for (const { time, depth } of channel.curve.between(start / this.rate, piece.end / this.rate)) {
      gain.linearRampToValueAtTime(1 + (inside - 1) * depth, toContext(time));
    }
    gain.linearRampToValueAtTime(this.gateAt(channel, piece.end), end);
  }

  private gateAt(channel: Channel, frame: number): number {
    const { gain, onlyActive } = channel.loudness;
    return onlyActive ? 1 + (gain - 1) * channel.curve.at(frame / this.rate) : 1;
  }

  private gateValue(channel: Channel): number {
    return this.gateAt(channel, this.playing ? this.songPosition(this.now()) : this.at);
  }

  // ---- time

  private now(): number {
    return Math.round(this.context.currentTime * this.rate);
  }

  private frames(seconds: number): number {
    return Math.round(seconds * this.rate);
  }

  private heard(now: number): boolean {
    return this.run?.pieces.some(({ start, end, when }) => when <= now && now < when + end - start) ?? false;
  }

  private songPosition(now: number): number {
    let position: number | null = null;
    for (const { start, end, when } of this.run?.pieces ?? []) {
      if (now < when) return position ?? start;
      position = Math.min(end, start + now - when);
    }
    return position ?? this.at;
  }

  private clamp(seconds: number): number {
    return Math.max(0, Math.min(this.length, this.frames(seconds)));
  }

  private quantised(loop: Loop): { start: number; end: number } {
    const start = this.clamp(loop.start);
    const end = Math.min(this.length, Math.max(this.clamp(loop.end), start + this.frames(SHORTEST_LOOP)));
    return { start: Math.max(0, Math.min(start, end - 1)), end };
  }

  private announce(): void {
    this.wasWaiting = this.waiting;
    this.dispatchEvent(new Event("state"));
  }
}

/** At the song's own rate, where the browser can: then nothing is resampled on the way. */
function createContext(rate: number): AudioContext {
  try {
    return new AudioContext({ sampleRate: rate, latencyHint: "balanced" });
  } catch {
    return new AudioContext({ latencyHint: "balanced" }); // a rate that this browser does not run at
  }
}

function glide(param: AudioParam, value: number, now: number): void {
  hold(param, now);
  param.setTargetAtTime(value, now, GLIDE);
}

/** Keeps the value that a parameter has now; Firefox has no cancelAndHoldAtTime. */
function hold(param: AudioParam, now: number): void {
  if ("cancelAndHoldAtTime" in param) param.cancelAndHoldAtTime(now);
  else (param as AudioParam).cancelScheduledValues(now);
}

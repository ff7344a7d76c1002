/**
 * Plays all tracks in one Web Audio graph, in step to the sample.
 *
 * Channels -> master -> seam -> output. The song is cut into pieces, which end at the borders of
 * stretches, at the end of a loop and at the song's end; the sources of all tracks for one piece
 * start at the same time of the context. Times are counted in the context's samples. The seam fades
 * out and in wherever the song jumps.
 */

import { Channel, createAnalyser, glide, hold, over, rms, type Piece } from "./channel";
import type { Engine, Loop, Loudness, Problem } from "./engine";
import type { Multitrack } from "./multitrack";
import { OPUS_RATE } from "./opus";
import { STRETCH } from "./sources";

/** Seconds of audio that are always scheduled, more than a page in the background sleeps. */
const AHEAD = 5;
/** Seconds between a decision and its first sample. */
const LEAD = 0.04;
/** Seconds of the fades at jumps. */
const SEAM = 0.005;
/** Seconds after which a paused context is put to sleep. */
const IDLE = 2;

/** Playing without interruption: from play or seek to pause or seek. */
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
    this.context = createContext(song);
    void this.context.suspend(); // until it is played
    this.rate = this.context.sampleRate;
    this.length = this.frames(song.duration);
    this.master = this.context.createGain();
    this.seam = this.context.createGain();
    this.seam.gain.value = 0;
    this.meter = createAnalyser(this.context);
    this.samples = new Float32Array(this.meter.fftSize);
    this.master.connect(this.seam).connect(this.meter).connect(this.context.destination);
    this.channels = new Map(
      song.tracks.map((track) => [track.name, new Channel(track, this.context, this.master)]),
    );
  }

  get waiting(): boolean {
    const now = this.now();
    const heard = this.run?.pieces.some((piece) => piece.when <= now && now < over(piece)) ?? false;
    return this.playing && !heard;
  }

  /** One after another: a page has more to do. */
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
    this.at = this.heardAt(this.now());
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
    const position = this.heardAt(this.now());
    const change = this.now() + this.frames(LEAD);
    const piece = this.run.pieces.find((one) => one.when <= change && change < over(one));
    const next = piece === undefined ? position : piece.start + change - piece.when;
    if (this.loop !== null && Math.max(position, next) >= this.loop.end) {
      this.seek(this.loop.start / this.rate);
    } else if (piece === undefined) {
      this.seek(position / this.rate);
    } else {
      this.replan(this.run, change, next);
    }
  }

  setLoudness(track: string, loudness: Loudness): void {
    const position = this.playing ? this.heardAt(this.now()) : this.at;
    this.channels.get(track)?.setLoudness(loudness, position, this.run?.pieces ?? []);
  }

  setMaster(gain: number): void {
    glide(this.master.gain, gain, this.context.currentTime);
  }

  position(): number {
    return (this.playing ? this.heardAt(this.now()) : this.at) / this.rate;
  }

  level(track: string): number {
    if (!this.playing || this.waiting) return 0;
    if (track === "master") return rms(this.meter, this.samples);
    return this.channels.get(track)?.level(this.samples) ?? 0;
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
    const next = this.loop !== null && position >= this.loop.end ? this.loop.start : position;
    this.run = { pieces: [], voices: new Set(), next, when: null, fadeIn: true, filling: false };
    void this.fill(this.run);
  }

  /** Fades out what is heard. */
  private leave(): void {
    const now = this.context.currentTime;
    hold(this.seam.gain, now);
    for (const channel of this.channels.values()) channel.freeze(now);
    this.seam.gain.setTargetAtTime(0, now, SEAM / 2);
    for (const voice of this.run?.voices ?? []) voice.stop(now + 4 * SEAM);
    this.run = null;
  }

  /** What was scheduled from the context's sample `change` on gives way to a new plan, unheard. */
  private replan(old: Run, change: number, next: number): void {
    const time = change / this.rate;
    for (const voice of old.voices) voice.stop(time);
    for (const channel of this.channels.values()) channel.replan(time, next);
    this.seam.gain.cancelScheduledValues(time);
    this.seam.gain.setValueAtTime(1, time);
    const pieces = old.pieces
      .filter((piece) => piece.when < change)
      .map((piece) => ({ ...piece, end: Math.min(piece.end, piece.start + change - piece.when) }));
    this.run = { ...old, pieces, next, when: change, fadeIn: false, filling: false };
    void this.fill(this.run);
  }

  private tick(): void {
    const run = this.run;
    if (run === null) return;
    const now = this.now();
    const last = run.pieces.at(-1);
    if (last !== undefined && run.next === null && now >= over(last)) {
      this.at = this.length;
      this.stop();
      this.dispatchEvent(new Event("end"));
      return;
    }
    // the last one stays: it tells where the song is when no more comes
    run.pieces = run.pieces.filter((piece) => piece === last || over(piece) > now - this.rate);
    if (last !== undefined && run.next !== null && !run.fadeIn && over(last) - now < this.frames(2 * LEAD)) {
      run.fadeIn = true;
      if (over(last) > now) this.fadeOut(over(last)); // what comes next is not there
    }
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
      const offset = run.next / this.rate - index * STRETCH;
      const piece = this.place(run, run.next, end);
      channels.forEach((channel, nth) => {
        channel.automate(piece);
        this.sound(run, channel, buffers[nth] ?? null, piece, offset);
      });
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

  /** When the next piece is heard: right after the last, or as soon as can be. */
  private place(run: Run, start: number, end: number): Piece {
    const late = run.when === null || run.when < this.now() + this.frames(LEAD / 4);
    const piece = { start, end, when: late ? this.now() + this.frames(LEAD) : run.when! };
    if (late || run.fadeIn) this.join(piece.when, late, run.pieces.length > 0);
    run.pieces.push(piece);
    run.when = over(piece);
    if (this.waiting !== this.wasWaiting) this.announce();
    return piece;
  }

  private sound(run: Run, channel: Channel, audio: AudioBuffer | null, piece: Piece, offset: number): void {
    const voice = audio === null ? null : channel.voice(audio, piece, offset);
    if (voice === null) return;
    run.voices.add(voice);
    voice.onended = () => {
      run.voices.delete(voice);
      voice.disconnect();
    };
  }

  /** The fades where the song jumps, begins, or goes on after waiting. */
  private join(when: number, late: boolean, goesOn: boolean): void {
    const { gain } = this.seam;
    const now = this.context.currentTime;
    if (late) {
      hold(gain, now);
      gain.setTargetAtTime(0, now, SEAM / 2);
      gain.setValueAtTime(0, when / this.rate);
    } else if (goesOn) {
      this.fadeOut(when);
    }
    gain.linearRampToValueAtTime(1, when / this.rate + SEAM);
  }

  /** To silence at the context's sample `end`. */
  private fadeOut(end: number): void {
    this.seam.gain.setValueAtTime(1, end / this.rate - SEAM);
    this.seam.gain.linearRampToValueAtTime(0, end / this.rate);
  }

  // ---- time

  private now(): number {
    return Math.round(this.context.currentTime * this.rate);
  }

  private frames(seconds: number): number {
    return Math.round(seconds * this.rate);
  }

  /** The song's sample that is heard at the context's sample `now`. */
  private heardAt(now: number): number {
    let position: number | null = null;
    for (const piece of this.run?.pieces ?? []) {
      if (now < piece.when) return position ?? piece.start;
      position = Math.min(piece.end, piece.start + now - piece.when);
    }
    return position ?? this.at;
  }

  private clamp(seconds: number): number {
    return Math.max(0, Math.min(this.length, this.frames(seconds)));
  }

  private quantised(loop: Loop): { start: number; end: number } {
    const start = this.clamp(loop.start);
    return { start, end: Math.max(this.clamp(loop.end), start + 1) };
  }

  private announce(): void {
    this.wasWaiting = this.waiting;
    this.dispatchEvent(new Event("state"));
  }
}

/** At the audio's own rate, where the browser can: then nothing is resampled on the way. */
function createContext({ tracks, sample_rate }: Multitrack): AudioContext {
  const opus = tracks.some(({ audio }) => audio.url.startsWith("data:audio/ogg"));
  const latencyHint = "balanced";
  try {
    return new AudioContext({ sampleRate: opus ? OPUS_RATE : sample_rate, latencyHint });
  } catch {
    return new AudioContext({ latencyHint }); // a rate that this browser does not run at
  }
}

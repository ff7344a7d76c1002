/**
 * Plays files beside a page that was opened from disk, where scripts may not read them: one media
 * element per track, kept in step with the longest. Not exact to the sample, as the mixer is, but
 * within the few milliseconds that nobody hears; levels are those of the drawn waveform.
 */

import type { Engine, Loop, Loudness, Problem } from "./engine";
import { Gate } from "./gate";
import type { Multitrack, Track } from "./multitrack";

/** Milliseconds between looks at the clock. */
const STEP = 20;
/** The volume changes by this much in a step: a fade of a tenth of a second. */
const GLIDE = 0.2;
/** Seconds: below the first two tracks are in step, above the second they are moved. */
const IN_STEP = 0.008;
const APART = 0.12;
/** How much faster or slower a track runs to catch up: less than one hears. */
const HURRY = 0.008;

interface Channel {
  track: Track;
  element: HTMLAudioElement;
  curve: Gate;
  loudness: Loudness;
  failed: boolean;
}

export class LinkedEngine extends EventTarget implements Engine {
  /** A media element cannot play louder than the file is. */
  readonly loudest = 1;
  readonly problems: Problem[] = [];
  playing = false;
  private readonly duration: number;
  private readonly channels: Channel[];
  private at = 0;
  private started = false;
  private attempt = 0;
  private loop: Loop | null = null;
  private master = 1;
  private timer = 0;

  constructor(song: Multitrack) {
    super();
    this.duration = song.duration;
    this.channels = song.tracks.map((track) => this.channel(track));
  }

  private channel(track: Track): Channel {
    const element = new Audio();
    element.preload = "metadata";
    element.preservesPitch = false;
    element.volume = 0;
    element.src = track.audio.url;
    const curve = new Gate(track.activity?.segments ?? []);
    const channel = { track, element, curve, loudness: { gain: 0, onlyActive: false }, failed: false };
    element.addEventListener("error", () => this.fail(channel));
    return channel;
  }

  private fail(channel: Channel): void {
    if (channel.failed) return;
    channel.failed = true;
    const text = "its file is not where the page looks for it, or this browser cannot play it";
    this.problems.push({ track: channel.track.name, text });
    this.announce();
  }

  get waiting(): boolean {
    return this.playing && !this.started;
  }

  prepare(): void {
    if (this.playing) return; // loading anew would stop it
    for (const { element } of this.channels) element.load();
  }

  async play(): Promise<void> {
    if (this.playing) return;
    if (this.at >= this.duration) this.at = this.loop?.start ?? 0;
    this.playing = true;
    this.timer = window.setInterval(() => this.step(), STEP);
    await this.start();
  }

  /** Moves all elements to the position, waits for the slowest, and starts them together. */
  private async start(): Promise<void> {
    const attempt = ++this.attempt;
    this.started = false;
    this.announce();
    const heard = this.channels.filter(({ failed }) => !failed);
    for (const { element } of heard) element.pause();
    await Promise.all(heard.map((channel) => this.ready(channel, attempt)));
    if (attempt !== this.attempt || !this.playing) return;
    const starts = this.heard().map(({ element }) => element.play());
    const outcomes = await Promise.allSettled(starts);
    if (attempt !== this.attempt) return;
    this.started = outcomes.some(({ status }) => status === "fulfilled");
    if (!this.started) this.pause();
    this.announce();
  }

  private async ready(channel: Channel, attempt: number): Promise<void> {
    const { element, track } = channel;
    const seeked = (): boolean => !element.seeking && element.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA;
    element.preload = "auto";
    await until(() => element.readyState > 0 || this.gone(track, attempt));
    element.currentTime = Math.min(this.at, element.duration || 0);
    await until(() => seeked() || element.ended || this.at >= element.duration || this.gone(track, attempt));
  }

  private gone(track: Track, attempt: number): boolean {
    return attempt !== this.attempt || this.channels.some((one) => one.track === track && one.failed);
  }

  pause(): void {
    if (!this.playing) return;
    this.at = this.position();
    this.attempt++;
    this.playing = false;
    this.started = false;
    window.clearInterval(this.timer);
    for (const { element } of this.channels) element.pause();
    this.announce();
  }

  seek(seconds: number): void {
    this.at = Math.max(0, Math.min(this.duration, seconds));
    if (this.playing) void this.start();
  }

  setLoop(loop: Loop | null): void {
    this.loop = loop;
  }

  setLoudness(track: string, loudness: Loudness): void {
    const channel = this.channels.find((one) => one.track.name === track);
    if (channel !== undefined) channel.loudness = loudness;
  }

  setMaster(gain: number): void {
    this.master = gain;
  }

  position(): number {
    const leader = this.leader();
    return this.started && leader !== undefined ? Math.min(leader.element.currentTime, this.duration) : this.at;
  }

  level(track: string): number {
    if (!this.started) return 0;
    const time = this.position();
    if (track !== "master") return this.loudnessAt(this.channels.find((one) => one.track.name === track), time);
    return Math.hypot(...this.channels.map((channel) => this.loudnessAt(channel, time)));
  }

  private loudnessAt(channel: Channel | undefined, time: number): number {
    if (channel === undefined || channel.failed) return 0;
    const { peaks, duration } = channel.track;
    const column = Math.floor((time / duration) * peaks.rms.length);
    return (peaks.rms[column] ?? 0) * channel.element.volume;
  }

  destroy(): void {
    this.playing = false;
    this.attempt++;
    window.clearInterval(this.timer);
    for (const { element } of this.channels) {
      element.pause();
      element.removeAttribute("src");
      element.load();
    }
  }

  // ---- keeping in step

  private heard(): Channel[] {
    return this.channels.filter(({ failed, element }) => !failed && this.at < element.duration);
  }

  private leader(): Channel | undefined {
    return this.heard().reduce<Channel | undefined>(
      (best, one) => (best !== undefined && best.element.duration >= one.element.duration ? best : one),
      undefined,
    );
  }

  private step(): void {
    const leader = this.leader();
    if (!this.started || leader === undefined) return;
    const time = leader.element.currentTime;
    if (this.loop !== null && time >= this.loop.end - STEP / 2000 && this.at < this.loop.end) {
      this.seek(this.loop.start);
      return;
    }
    if (leader.element.ended) return this.over();
    for (const channel of this.channels) {
      const { gain, onlyActive } = channel.loudness;
      const wanted = onlyActive ? 1 + (gain - 1) * channel.curve.at(time) : gain;
      const change = Math.min(1, wanted * this.master) - channel.element.volume;
      const volume = channel.element.volume + Math.max(-GLIDE, Math.min(GLIDE, change));
      channel.element.volume = Math.max(0, Math.min(1, volume));
      if (channel !== leader) follow(channel.element, time);
    }
  }

  private over(): void {
    if (this.loop !== null && this.at < this.loop.end) return this.seek(this.loop.start);
    this.pause();
    this.at = this.duration;
    this.announce();
    this.dispatchEvent(new Event("end"));
  }

  private announce(): void {
    this.dispatchEvent(new Event("state"));
  }
}

function follow(element: HTMLAudioElement, time: number): void {
  if (element.paused || element.ended || element.seeking) return;
  const behind = time - element.currentTime;
  if (Math.abs(behind) > APART) element.currentTime = time;
  const rate = Math.abs(behind) < IN_STEP ? 1 : 1 + Math.sign(behind) * HURRY;
  if (element.playbackRate !== rate) element.playbackRate = rate;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 15));
}

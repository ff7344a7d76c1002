/** What is to be heard: mute, solo and volume of every stem, and the song itself instead. */

import type { Loudness } from "./engine";
import type { Multitrack, Track } from "./multitrack";

/** A volume slider's range in dB; its lowest position is silence. */
export const QUIETEST = -48;
export const LOUDEST = 6;

export interface Stem {
  muted: boolean;
  solo: boolean;
  /** dB. */
  volume: number;
}

/** Event "change" after every change. */
export class Mix extends EventTarget {
  readonly stems: ReadonlyMap<string, Stem>;
  /** The stem that karaoke is about. */
  readonly vocals: string | null;
  /** The vocals' segments are known, so that they can be removed only there. */
  readonly gated: boolean;
  private song = false;
  private partly = false;
  private masterVolume = 0;

  constructor({ tracks }: Multitrack) {
    super();
    const stems = tracks.filter(({ kind }) => kind === "stem");
    this.stems = new Map(stems.map(({ name }) => [name, { muted: false, solo: false, volume: 0 }]));
    const vocals = stems.length > 1 ? stems.find(({ name }) => name === "vocals") : undefined;
    this.vocals = vocals?.name ?? null;
    this.gated = (vocals?.activity?.segments.length ?? 0) > 0;
    this.song = stems.length === 0;
  }

  /** The song itself is heard, not its stems. */
  get original(): boolean {
    return this.song;
  }

  set original(on: boolean) {
    this.song = on || this.stems.size === 0;
    this.changed();
  }

  get master(): number {
    return this.masterVolume;
  }

  set master(volume: number) {
    this.masterVolume = Math.max(QUIETEST, Math.min(0, volume));
    this.changed();
  }

  /** Linear gain of the master. */
  get masterGain(): number {
    return linear(this.masterVolume);
  }

  /** Changes some of a stem; whoever changes a stem wants to hear the stems. */
  set(name: string, change: Partial<Stem>): void {
    const stem = this.stems.get(name);
    if (stem === undefined) return;
    Object.assign(stem, change);
    stem.volume = Math.max(QUIETEST, Math.min(LOUDEST, stem.volume));
    if (name === this.vocals && change.muted !== undefined) this.partly = false;
    this.song = this.stems.size === 0;
    this.changed();
  }

  get karaoke(): boolean {
    return this.withoutVocals() && !this.partly;
  }

  set karaoke(on: boolean) {
    this.leaveOutVocals(on, false);
  }

  /** The vocals are left out, but only while they sing. */
  get instrumentalWhereSung(): boolean {
    return this.withoutVocals() && this.partly;
  }

  set instrumentalWhereSung(on: boolean) {
    this.leaveOutVocals(on, true);
  }

  private withoutVocals(): boolean {
    return !this.song && this.vocals !== null && !this.soloed() && this.stems.get(this.vocals)!.muted;
  }

  private leaveOutVocals(on: boolean, partly: boolean): void {
    if (this.vocals === null) return;
    if (on) for (const stem of this.stems.values()) stem.solo = false;
    this.set(this.vocals, { muted: on });
    this.partly = on && partly;
    this.changed();
  }

  reset(): void {
    for (const stem of this.stems.values()) Object.assign(stem, { muted: false, solo: false, volume: 0 });
    this.partly = false;
    this.song = this.stems.size === 0;
    this.changed();
  }

  get untouched(): boolean {
    const plain = [...this.stems.values()].every(({ muted, solo, volume }) => !muted && !solo && volume === 0);
    return plain && this.song === (this.stems.size === 0);
  }

  private soloed(): boolean {
    return [...this.stems.values()].some(({ solo }) => solo);
  }

  /** Linear gain of a stem after mute, solo and volume. */
  gain(name: string): number {
    const stem = this.stems.get(name);
    if (stem === undefined) return 0;
    const audible = this.soloed() ? stem.solo : !stem.muted;
    return audible ? linear(stem.volume) : 0;
  }

  gains(): Record<string, number> {
    return Object.fromEntries([...this.stems.keys()].map((name) => [name, this.gain(name)]));
  }

  /** The stem that has its gain only inside its segments, or null. */
  onlyActive(): string | null {
    return this.partly && !this.soloed() && this.stems.get(this.vocals!)!.muted ? this.vocals : null;
  }

  /** How loud a track is to be played. */
  loudness({ name, kind }: Track): Loudness {
    if (kind === "mixture") return { gain: this.song ? 1 : 0, onlyActive: false };
    if (this.song) return { gain: 0, onlyActive: false };
    return { gain: this.gain(name), onlyActive: this.onlyActive() === name };
  }

  private changed(): void {
    this.dispatchEvent(new Event("change"));
  }
}

export function linear(volume: number): number {
  return volume <= QUIETEST ? 0 : 10 ** (volume / 20);
}

/** A volume as it is shown, with a true minus sign. */
export function decibels(volume: number): string {
  if (volume <= QUIETEST) return "−∞ dB";
  const text = Math.abs(volume).toFixed(1);
  return `${volume < 0 ? "−" : volume > 0 ? "+" : ""}${text} dB`;
}

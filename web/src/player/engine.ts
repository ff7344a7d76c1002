/** What plays a song: the view knows no more than this. */

import { LinkedEngine } from "./linked";
import { Mixer } from "./mixer";
import type { Multitrack } from "./multitrack";

export interface Loop {
  /** Seconds. */
  start: number;
  end: number;
}

/** How loud a track is: `gain` everywhere, or only inside its segments and 1 elsewhere. */
export interface Loudness {
  gain: number;
  onlyActive: boolean;
}

export interface Problem {
  track: string;
  text: string;
}

/** Events: "state" when playing, waiting or the problems change; "end" when the song is over. */
export interface Engine extends EventTarget {
  readonly playing: boolean;
  /** Playing, but the audio is not there yet. */
  readonly waiting: boolean;
  readonly problems: Problem[];
  /** The highest gain that a track can have. */
  readonly loudest: number;
  /** Gets ready for playing, as far as that costs little. */
  prepare(): void;
  play(): Promise<void>;
  pause(): void;
  seek(seconds: number): void;
  setLoop(loop: Loop | null): void;
  setLoudness(track: string, loudness: Loudness): void;
  setMaster(gain: number): void;
  /** Seconds. */
  position(): number;
  /** RMS, 0..1, of what is heard now of a track, or of "master". */
  level(track: string): number;
  destroy(): void;
}

export function createEngine(song: Multitrack): Engine {
  const linked = song.tracks.some((track) => track.audio.kind === "linked");
  return linked ? new LinkedEngine(song) : new Mixer(song);
}

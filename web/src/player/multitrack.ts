/** The document that the player plays; stemwise.report.multitrack makes it. */

export interface Multitrack {
  title: string;
  /** Seconds: the longest track. */
  duration: number;
  sample_rate: number;
  channels: number;
  facts: Record<string, string>;
  warnings: string[];
  /** The mixture is the first. */
  tracks: Track[];
}

export interface Track {
  name: string;
  kind: "mixture" | "stem";
  /** An index of the palette, 0..7. */
  colour: "mixture" | number;
  duration: number;
  audio: Audio;
  peaks: Peaks;
  levels?: Levels | null;
  activity: Activity | null;
  spectrogram: Spectrogram | null;
}

/** "wav" is served with ranges, "embedded" is a data: URL, "linked" a file beside the page. */
export interface Audio {
  kind: "wav" | "embedded" | "linked";
  url: string;
}

/** Columns divide the track's own duration evenly; values are linear, full scale is one. */
export interface Peaks {
  lows: number[];
  highs: number[];
  rms: number[];
}

/** null: silence, or too short to measure. */
export interface Levels {
  peak_db: number | null;
  rms_db: number | null;
  loudness_lufs: number | null;
}

export interface Activity {
  /** Frames per second of `probability`. */
  frame_rate: number;
  probability: number[];
  /** Seconds, [start, end) each, in order. */
  segments: [number, number][];
  /** Part of the song, 0..1, in which the stem plays. */
  share: number;
}

/** An image over the track's duration, low to high frequency (logarithmic) from bottom to top. */
export interface Spectrogram {
  url: string;
  low_hz: number;
  high_hz: number;
}

export const isStem = (track: Track): boolean => track.kind === "stem";

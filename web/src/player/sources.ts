/** Where audio comes from: stretches of some seconds each, made when they are asked for. */

/** Seconds of a stretch: a whole number, so that borders fall on samples at every rate. */
export const STRETCH = 4;
/** Beyond its end a stretch holds what resampling looks at. */
export const TAIL = 2;
/** The one that plays, those scheduled ahead, and the one at the start of a loop. */
const KEPT = 5;

export abstract class Source {
  private readonly kept = new Map<number, Promise<AudioBuffer | null>>();

  /** Fetches or decodes what is needed before the first stretch. */
  abstract prepare(): Promise<void>;

  /** Seconds from index * STRETCH on; null beyond the end. */
  protected abstract load(index: number): Promise<AudioBuffer | null>;

  stretch(index: number): Promise<AudioBuffer | null> {
    const known = this.kept.get(index);
    this.kept.delete(index);
    const stretch = known ?? this.load(index);
    this.kept.set(index, stretch); // the latest is the last
    if (known === undefined) {
      stretch.catch(() => this.kept.delete(index));
      for (const oldest of [...this.kept.keys()].slice(0, -KEPT)) this.kept.delete(oldest);
    }
    return stretch;
  }

  release(): void {
    this.kept.clear();
  }
}

/** First sample and number of samples of a stretch, or null beyond the end. */
export function span(index: number, rate: number, samples: number): [number, number] | null {
  const first = index * STRETCH * rate;
  const count = Math.min(STRETCH * rate + TAIL, samples - first);
  return count > 0 ? [first, count] : null;
}

/** Web Audio plays one or two channels as they are; more are heard as their mean. */
export function buffer(channels: Float32Array<ArrayBuffer>[], rate: number): AudioBuffer {
  const heard = channels.length <= 2 ? channels : [mean(channels)];
  const length = heard[0]!.length;
  const made = new AudioBuffer({ length, sampleRate: rate, numberOfChannels: heard.length });
  heard.forEach((samples, channel) => made.copyToChannel(samples, channel));
  return made;
}

function mean(channels: Float32Array<ArrayBuffer>[]): Float32Array<ArrayBuffer> {
  const sum = new Float32Array(channels[0]!.length);
  for (const channel of channels) {
    for (let i = 0; i < sum.length; i++) sum[i]! += channel[i]! / channels.length;
  }
  return sum;
}

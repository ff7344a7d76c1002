/**
 * Compressed audio inside the page. Opus is decoded as it is played; anything else once, as a whole,
 * and kept with 16 bits, half of what floats take.
 */

import { OggOpus, OPUS_RATE } from "./opus";
import { buffer, Source, span } from "./sources";

const FULL = 32767;

interface Decoded {
  samples: number;
  channels: Int16Array[];
  /** What one step of 16 bits is worth: audio louder than full scale keeps its shape. */
  step: number;
}

export class EmbeddedSource extends Source {
  private file: ArrayBuffer | null = null;
  private opus: OggOpus | null = null;
  private whole: Promise<Decoded> | null = null;

  constructor(
    private readonly url: string,
    private readonly rate: number,
  ) {
    super();
  }

  async prepare(): Promise<void> {
    if (this.file === null) {
      this.file = unpack(this.url);
      this.opus = this.rate === OPUS_RATE ? OggOpus.parse(this.file) : null;
    }
    if (this.opus !== null) return;
    this.whole ??= this.decodeWhole(this.file);
    await this.whole;
  }

  protected async load(index: number): Promise<AudioBuffer | null> {
    await this.prepare();
    if (this.opus !== null) {
      const part = span(index, OPUS_RATE, this.opus.samples);
      if (part === null) return null;
      const made = await this.decodePart(this.opus, ...part);
      if (made !== null) return made;
      this.opus = null; // this browser sees a part of a file differently
      await this.prepare();
    }
    const { samples, channels, step } = await this.whole!;
    const part = span(index, this.rate, samples);
    if (part === null) return null;
    const [first, count] = part;
    const parts = channels.map((channel) => restore(channel.subarray(first, first + count), step));
    return buffer(parts, this.rate);
  }

  /** null: not of the length that it should have, so that nothing says where it begins. */
  private async decodePart(opus: OggOpus, first: number, count: number): Promise<AudioBuffer | null> {
    const { bytes, end, lengths } = opus.slice(first, count);
    const audio = await decode(bytes, OPUS_RATE);
    const offset = audio.length - (end - first);
    if (!lengths.includes(audio.length) || offset < 0) return null;
    return buffer(
      channelsOf(audio).map((channel) => channel.slice(offset, offset + count)),
      OPUS_RATE,
    );
  }

  private async decodeWhole(file: ArrayBuffer): Promise<Decoded> {
    const audio = await decode(file.slice(0), this.rate);
    const channels = channelsOf(audio);
    const step = Math.max(1, ...channels.map(peak)) / FULL;
    return { samples: audio.length, channels: channels.map((channel) => quantise(channel, step)), step };
  }

  override release(): void {
    super.release();
    this.whole = null;
    this.file = null;
  }
}

async function decode(bytes: ArrayBuffer, rate: number): Promise<AudioBuffer> {
  try {
    return await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch (error) {
    throw new Error("this browser cannot decode it", { cause: error });
  }
}

function channelsOf(audio: AudioBuffer): Float32Array<ArrayBuffer>[] {
  return Array.from({ length: audio.numberOfChannels }, (_, index) => audio.getChannelData(index));
}

/** The bytes of a data: URL; fetch() would do, but not under every page's security policy. */
function unpack(url: string): ArrayBuffer {
  const comma = url.indexOf(",");
  if (!url.startsWith("data:") || comma < 0) throw new Error("the page does not hold its audio");
  const body = url.slice(comma + 1);
  const text = url.slice(0, comma).endsWith(";base64") ? atob(body) : decodeURIComponent(body);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes.buffer;
}

function peak(samples: Float32Array): number {
  let highest = 0;
  for (let i = 0; i < samples.length; i++) highest = Math.max(highest, Math.abs(samples[i]!));
  return highest;
}

function quantise(samples: Float32Array, step: number): Int16Array {
  const steps = new Int16Array(samples.length);
  for (let i = 0; i < steps.length; i++) steps[i] = Math.round(samples[i]! / step);
  return steps;
}

function restore(steps: Int16Array, step: number): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(steps.length);
  for (let i = 0; i < samples.length; i++) samples[i] = steps[i]! * step;
  return samples;
}

/** Compressed audio inside the page: decoded once, kept with 16 bits, half of what floats take. */

import { buffer, Source, span } from "./sources";

const FULL = 32767;

interface Decoded {
  rate: number;
  samples: number;
  channels: Int16Array[];
  /** What one step of 16 bits is worth: audio louder than full scale keeps its shape. */
  step: number;
}

export class EmbeddedSource extends Source {
  private decoded: Promise<Decoded> | null = null;

  constructor(
    private readonly url: string,
    private readonly rate: number,
  ) {
    super();
  }

  async prepare(): Promise<void> {
    this.decoded ??= this.decode();
    await this.decoded;
  }

  private async decode(): Promise<Decoded> {
    const context = new OfflineAudioContext(1, 1, this.rate);
    let audio: AudioBuffer;
    try {
      audio = await context.decodeAudioData(unpack(this.url));
    } catch (error) {
      throw new Error("this browser cannot decode it", { cause: error });
    }
    let channels = Array.from({ length: audio.numberOfChannels }, (_, index) => audio.getChannelData(index));
    if (channels.length === 2 && same(channels[0]!, channels[1]!)) channels = [channels[0]!];
    const step = Math.max(1, ...channels.map(peak)) / FULL;
    return {
      rate: audio.sampleRate,
      samples: audio.length,
      channels: channels.map((channel) => quantise(channel, step)),
      step,
    };
  }

  protected async load(index: number): Promise<AudioBuffer | null> {
    await this.prepare();
    const { rate, samples, channels, step } = await this.decoded!;
    const part = span(index, rate, samples);
    if (part === null) return null;
    const [first, count] = part;
    const parts = channels.map((channel) => restore(channel.subarray(first, first + count), step));
    return buffer(parts, rate);
  }

  override release(): void {
    super.release();
    this.decoded = null;
  }
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

function same(left: Float32Array, right: Float32Array): boolean {
  return left.every((sample, index) => sample === right[index]);
}

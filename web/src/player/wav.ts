/** Audio of a WAV file that a server gives by ranges: any length, in constant memory. */

import { buffer, Source, span } from "./sources";

const HEADER = 4096;
const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

type Decode = (bytes: DataView, offset: number) => number;

interface Layout {
  rate: number;
  channels: number;
  /** Bytes of one sample of all channels. */
  frame: number;
  /** Where the samples begin, and how many there are of each channel. */
  offset: number;
  samples: number;
  decode: Decode;
}

export class WavSource extends Source {
  private layout: Promise<Layout> | null = null;
  /** The whole file, where the server knows no ranges. */
  private whole: ArrayBuffer | null = null;
  private size = Infinity;

  constructor(private readonly url: string) {
    super();
  }

  async prepare(): Promise<void> {
    this.layout ??= this.readLayout();
    try {
      await this.layout;
    } catch (error) {
      this.layout = null; // tried again when it is wanted again
      throw error;
    }
  }

  protected async load(index: number): Promise<AudioBuffer | null> {
    await this.prepare();
    const layout = await this.layout!;
    const part = span(index, layout.rate, layout.samples);
    if (part === null) return null;
    const [first, count] = part;
    const start = layout.offset + first * layout.frame;
    const bytes = await this.bytes(start, start + count * layout.frame);
    return buffer(deinterleave(bytes, layout), layout.rate);
  }

  private async readLayout(): Promise<Layout> {
    const head = await this.bytes(0, HEADER);
    const form = tag(head, 0);
    if ((form !== "RIFF" && form !== "RF64") || tag(head, 8) !== "WAVE") {
      throw new Error("this is no WAV file");
    }
    let large: number | null = null;
    let format: Omit<Layout, "offset" | "samples"> | null = null;
    for (let at = 12; ; ) {
      const chunk = at + 64 <= head.byteLength ? new DataView(head.buffer, at) : await this.bytes(at, at + 64);
      if (chunk.byteLength < 8) throw new Error("the WAV file holds no samples");
      const name = tag(chunk, 0);
      const length = chunk.getUint32(4, true);
      if (name === "ds64") large = Number(chunk.getBigUint64(16, true));
      if (name === "fmt ") format = parseFormat(chunk);
      if (name === "data") {
        if (format === null) throw new Error("the WAV file says nothing about its format");
        // a writer that did not know the length says 0 or the most that it can
        const said = length === 0xffffffff ? (large ?? Infinity) : length === 0 ? Infinity : length;
        const bytes = Math.min(said, this.size - at - 8);
        const samples = Number.isFinite(bytes) ? Math.max(0, Math.floor(bytes / format.frame)) : 0;
        return { ...format, offset: at + 8, samples };
      }
      at += 8 + length + (length % 2);
    }
  }

  /** Bytes from `start` to `end` (exclusive), fewer where the file ends. */
  private async bytes(start: number, end: number): Promise<DataView> {
    if (this.whole !== null) return view(this.whole, start, end);
    if (start >= this.size) return new DataView(new ArrayBuffer(0));
    const answer = await this.ask(start, Math.min(end, this.size) - 1);
    const body = await answer.arrayBuffer();
    if (answer.status === 206) {
      const total = /\/(\d+)\s*$/.exec(answer.headers.get("Content-Range") ?? "");
      if (total !== null) this.size = Number(total[1]);
      return new DataView(body);
    }
    this.whole = body;
    this.size = body.byteLength;
    return view(body, start, end);
  }

  /** One more try after a moment, for connections that break. */
  private async ask(first: number, last: number): Promise<Response> {
    for (let tries = 2; ; tries--) {
      try {
        const answer = await fetch(this.url, { headers: { Range: `bytes=${first}-${last}` } });
        if (answer.ok) return answer;
        if (answer.status < 500 || tries <= 1) throw new Refused(answer.status);
      } catch (error) {
        if (error instanceof Refused) throw error;
        if (tries <= 1) throw new Error("the server does not answer", { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  }

  override release(): void {
    super.release();
    this.whole = null;
    this.layout = null;
    this.size = Infinity;
  }
}

class Refused extends Error {
  constructor(status: number) {
    super(status === 404 || status === 410 ? "the file is not there any more" : `the server answers ${status}`);
  }
}

function parseFormat(chunk: DataView): Omit<Layout, "offset" | "samples"> {
  const code = chunk.getUint16(8, true);
  const kind = code === EXTENSIBLE ? chunk.getUint16(32, true) : code;
  const channels = chunk.getUint16(10, true);
  const rate = chunk.getUint32(12, true);
  const frame = chunk.getUint16(20, true);
  const bits = chunk.getUint16(22, true);
  const decode = decoder(kind, frame / channels);
  if (decode === null || rate === 0) {
    throw new Error(`WAV of ${bits} bits in format ${kind} cannot be played`);
  }
  return { rate, channels, frame, decode };
}

function decoder(kind: number, width: number): Decode | null {
  const pcm: Record<number, Decode> = {
    1: (bytes, at) => (bytes.getUint8(at) - 128) / 128,
    2: (bytes, at) => bytes.getInt16(at, true) / 32768,
    3: (bytes, at) => (bytes.getUint16(at, true) + bytes.getInt8(at + 2) * 65536) / 8388608,
    4: (bytes, at) => bytes.getInt32(at, true) / 2147483648,
  };
  const float: Record<number, Decode> = {
    4: (bytes, at) => bytes.getFloat32(at, true),
    8: (bytes, at) => bytes.getFloat64(at, true),
  };
  return (kind === PCM ? pcm[width] : kind === FLOAT ? float[width] : undefined) ?? null;
}

function deinterleave(bytes: DataView, layout: Layout): Float32Array<ArrayBuffer>[] {
  const { channels, frame, decode } = layout;
  const count = Math.floor(bytes.byteLength / frame);
  if (count === 0) throw new Error("the file ends too early");
  const width = frame / channels;
  return Array.from({ length: channels }, (_, channel) => {
    const samples = new Float32Array(count);
    for (let i = 0, at = channel * width; i < count; i++, at += frame) samples[i] = decode(bytes, at);
    return samples;
  });
}

const view = (whole: ArrayBuffer, start: number, end: number): DataView => {
  const first = Math.min(start, whole.byteLength);
  return new DataView(whole, first, Math.min(end, whole.byteLength) - first);
};

const tag = (bytes: DataView, at: number): string =>
  at + 4 > bytes.byteLength ? "" : String.fromCharCode(...[0, 1, 2, 3].map((i) => bytes.getUint8(at + i)));

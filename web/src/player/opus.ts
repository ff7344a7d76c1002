/**
 * Opus in Ogg (RFC 7845), cut at its pages: any few seconds can be decoded on their own, so that a
 * page plays at once and in constant memory, however long the song that it holds.
 */

/** Opus counts at this rate, whatever it was made of. */
export const OPUS_RATE = 48000;
/** Samples that a decoder needs to forget that it did not hear what was before; RFC 7845 asks for 80 ms. */
const PREROLL = 24000;
const CONTINUED = 1;

interface Page {
  start: number;
  end: number;
  /** Sample of the song (with the pre-skip) at which the page ends. */
  granule: number;
  continued: boolean;
}

/** A file of its own with part of the song, and where in the song that part ends. */
export interface Slice {
  bytes: ArrayBuffer;
  end: number;
  /** How many samples it should decode to: a browser may or may not skip the first ones. */
  lengths: number[];
}

export class OggOpus {
  private constructor(
    private readonly bytes: Uint8Array<ArrayBuffer>,
    /** Where the head ends: the pages of the format and of the tags. */
    private readonly head: number,
    private readonly pages: Page[],
    private readonly skip: number,
  ) {}

  /** null: not Opus in Ogg, or not as simple as ours. */
  static parse(file: ArrayBuffer): OggOpus | null {
    const view = new DataView(file);
    const pages: Page[] = [];
    let complete = 0; // packets
    let head = 0;
    for (let at = 0; at < file.byteLength; at = pages.at(-1)!.end) {
      const page = parsePage(view, at);
      if (page === null || view.getUint32(at + 14) !== view.getUint32(14)) return null;
      pages.push(page);
      if (complete < 2) {
        const lacing = new Uint8Array(file, at + 27, view.getUint8(at + 26));
        complete += lacing.filter((length) => length < 255).length;
        head = page.end;
      }
    }
    const format = pages[0]?.start === 0 ? 27 + view.getUint8(26) : Infinity;
    if (format + 19 > file.byteLength || text(view, format, 8) !== "OpusHead") return null;
    const audio = pages.filter(({ start, granule }) => start >= head && granule >= 0);
    if (complete !== 2 || audio.length === 0) return null;
    return new OggOpus(new Uint8Array(file), head, audio, view.getUint16(format + 10, true));
  }

  /** Samples of the song. */
  get samples(): number {
    return Math.max(0, this.pages.at(-1)!.granule - this.skip);
  }

  slice(first: number, count: number): Slice {
    const ends = this.pages.map(({ granule }) => granule - this.skip);
    let from = ends.findIndex((end) => end > first - PREROLL);
    while (from > 0 && this.pages[from]!.continued) from--;
    const found = ends.findIndex((end) => end >= first + count);
    const last = found < 0 ? ends.length - 1 : found;
    const part = this.bytes.subarray(this.pages[from]!.start, this.pages[last]!.end);
    const bytes = new Uint8Array(this.head + part.length);
    bytes.set(this.bytes.subarray(0, this.head));
    bytes.set(part, this.head);
    const end = ends[last]!;
    const length = from === 0 ? end : end - ends[from - 1]!;
    return { bytes: bytes.buffer, end, lengths: from === 0 ? [length] : [length, length - this.skip] };
  }
}

function parsePage(view: DataView, at: number): Page | null {
  if (at + 27 > view.byteLength || text(view, at, 4) !== "OggS") return null;
  const segments = view.getUint8(at + 26);
  if (at + 27 + segments > view.byteLength) return null;
  let end = at + 27 + segments;
  for (let i = 0; i < segments; i++) end += view.getUint8(at + 27 + i);
  if (end > view.byteLength) return null;
  const granule = Number(view.getBigInt64(at + 6, true));
  return { start: at, end, granule, continued: (view.getUint8(at + 5) & CONTINUED) !== 0 };
}

const text = (view: DataView, at: number, length: number): string =>
  String.fromCharCode(...new Uint8Array(view.buffer, at, length));

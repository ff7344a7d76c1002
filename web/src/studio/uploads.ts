/** Songs on their way to the server, one after another in the order in which they were dropped. */

import { type Job, type Order, Refusal, type Sending, sendSong } from "./api";

export interface Upload {
  readonly key: string;
  readonly file: File;
  readonly order: Order;
  state: "waiting" | "sending" | "failed";
  /** 0 to 1; one while the server looks at what it got. */
  sent: number;
  /** Why it waits or failed. */
  sentence: string | null;
  /** Status of the last answer that was no success. */
  status: number | null;
}

export interface Arrival {
  job: Job;
  /** Whether the song was dropped alone. */
  alone: boolean;
}

const ROOM_AFTER = 5;

/** Dispatches "change"; "arrived" with the job that a song became; "refused" with the upload. */
export class Uploads extends EventTarget {
  readonly list: Upload[] = [];
  private sending: Sending | null = null;
  private current: Upload | null = null;
  private readonly alone = new Set<string>();
  private timer = 0;
  private count = 0;

  get busy(): boolean {
    return this.list.some((upload) => upload.state !== "failed");
  }

  add(files: File[], order: Order): void {
    for (const file of files) {
      this.count += 1;
      const key = `upload-${this.count}`;
      this.list.push({ key, file, order, state: "waiting", sent: 0, sentence: null, status: null });
      if (files.length === 1) this.alone.add(key);
    }
    this.next();
  }

  /** Stop sending a song, or take a failed one off the list. */
  remove(upload: Upload): void {
    const index = this.list.indexOf(upload);
    if (index >= 0) this.list.splice(index, 1);
    if (this.current === upload) this.sending?.abort();
    this.next();
  }

  retry(upload: Upload): void {
    Object.assign(upload, { state: "waiting", sent: 0, sentence: null });
    this.next();
  }

  /** Send what was cut off, now that the server is back. */
  resume(): void {
    for (const upload of this.list) {
      if (upload.state === "failed" && upload.status === 0) this.retry(upload);
    }
  }

  /** Send the next song unless one is on its way. */
  next(): void {
    window.clearTimeout(this.timer);
    const upload = this.list.find((one) => one.state === "waiting");
    if (this.current === null && upload !== undefined) void this.send(upload);
    this.dispatchEvent(new Event("change"));
  }

  private async send(upload: Upload): Promise<void> {
    Object.assign(upload, { state: "sending", sent: 0, sentence: null });
    this.current = upload;
    this.sending = sendSong(upload.file, upload.order, (share) => {
      upload.sent = share;
      this.dispatchEvent(new Event("change"));
    });
    let wait = 0;
    try {
      const job = await this.sending.job;
      this.list.splice(this.list.indexOf(upload), 1);
      const detail: Arrival = { job, alone: this.alone.has(upload.key) };
      this.dispatchEvent(new CustomEvent("arrived", { detail }));
    } catch (error) {
      wait = this.refused(upload, error);
    } finally {
      this.current = null;
      this.sending = null;
    }
    if (wait === 0) this.next();
    else this.timer = window.setTimeout(() => this.next(), wait * 1000);
  }

  /** What becomes of a song that was not taken; returns seconds after which to go on. */
  private refused(upload: Upload, error: unknown): number {
    upload.sentence = error instanceof Error ? error.message : String(error);
    if (error instanceof DOMException) return 0; // cancelled, and off the list already
    const full = error instanceof Refusal && error.status === 429;
    upload.status = error instanceof Refusal ? error.status : null;
    upload.state = full ? "waiting" : "failed";
    upload.sent = 0;
    this.dispatchEvent(new CustomEvent("refused", { detail: upload }));
    this.dispatchEvent(new Event("change"));
    return full ? (error.retryAfter ?? ROOM_AFTER) : 0;
  }
}

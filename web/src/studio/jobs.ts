/** The songs as the server knows them: read once, then kept in step by its events. */

import { type Job, Refusal, listJobs, unlock } from "./api";

/** "locked": the server wants a token. */
export type Link = "connecting" | "online" | "offline" | "locked";

const LONGEST_WAIT = 8;

export interface Transition {
  job: Job;
  before: Job;
}

/** Dispatches "change" (batched), "moved" where a song's state becomes another, and "back". */
export class Jobs extends EventTarget {
  link: Link = "connecting";
  /** Whether the list has been read, so that empty means that there is none. */
  known = false;
  private readonly byId = new Map<string, Job>();
  /** An answer that was on its way must not bring back what is gone. */
  private readonly gone = new Set<string>();
  /** Told of by an event since the list was asked for, which therefore knows less of them. */
  private readonly fresh = new Set<string>();
  private source: EventSource | null = null;
  private timer = 0;
  private failures = 0;
  private pending = false;

  get(id: string): Job | undefined {
    return this.byId.get(id);
  }

  /** Running, then waiting in their order, then the others, the latest first. */
  list(): Job[] {
    return [...this.byId.values()].sort(
      (a, b) => rank(a) - rank(b) || (a.position ?? 0) - (b.position ?? 0) || latest(b, a),
    );
  }

  connect(): void {
    window.clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource("/api/events");
    this.source = source;
    source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data) as Job;
      this.fresh.add(job.id);
      this.put(job);
    });
    source.addEventListener("deleted", (event) =>
      this.drop((JSON.parse(event.data) as { id: string }).id),
    );
    // The list is read after the stream has begun, so that nothing falls in between.
    source.onopen = () => void this.read();
    source.onerror = () => {
      source.close();
      void this.read(true);
    };
  }

  /** Read the list again, as after a long sleep; what the events say goes on. */
  refresh(): void {
    if (this.link === "online") void this.read();
  }

  async unlock(token: string): Promise<void> {
    await unlock(token);
    this.connect();
  }

  /** A job that was just made, unless its events were faster than the answer. */
  add(job: Job): void {
    if (!this.byId.has(job.id)) this.put(job);
  }

  private put(job: Job): void {
    if (this.gone.has(job.id)) return;
    const before = this.byId.get(job.id);
    this.byId.set(job.id, job);
    if (before !== undefined && before.state !== job.state) {
      this.dispatchEvent(new CustomEvent<Transition>("moved", { detail: { job, before } }));
    }
    this.changed();
  }

  drop(id: string): void {
    this.gone.add(id);
    if (this.byId.delete(id)) this.changed();
  }

  changed(): void {
    if (this.pending) return;
    this.pending = true;
    queueMicrotask(() => {
      this.pending = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Read the whole list; where the stream has ended, begin another after a while. */
  private async read(again = false): Promise<void> {
    this.fresh.clear();
    try {
      const jobs = await listJobs();
      this.failures = again ? this.failures + 1 : 0;
      const back = this.link === "offline";
      this.link = "online";
      this.replace(jobs);
      if (back) this.dispatchEvent(new Event("back"));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.source?.close();
      this.failures += 1;
      this.link = error.status === 401 ? "locked" : "offline";
      again = this.link === "offline";
    }
    this.changed();
    if (again) this.retryLater();
  }

  private replace(jobs: Job[]): void {
    const present = new Set(jobs.map((job) => job.id));
    const known = (id: string): boolean => present.has(id) || this.fresh.has(id);
    for (const id of [...this.byId.keys()].filter((id) => !known(id))) this.byId.delete(id);
    for (const job of jobs.filter((job) => !this.fresh.has(job.id))) this.put(job);
    this.known = true;
  }

  private retryLater(): void {
    window.clearTimeout(this.timer);
    const seconds = Math.min(LONGEST_WAIT, 2 ** (this.failures - 1));
    this.timer = window.setTimeout(() => this.connect(), seconds * 1000);
  }
}

function rank(job: Job): number {
  return job.state === "running" ? 0 : job.state === "queued" ? 1 : 2;
}

function latest(a: Job, b: Job): number {
  return (a.finished ?? a.created).localeCompare(b.finished ?? b.created);
}

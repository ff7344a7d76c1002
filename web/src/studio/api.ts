/** The studio's HTTP interface: what it answers, and calls that fail with one sentence. */

import type { Multitrack } from "../player/multitrack";

export type State = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  id: string;
  name: string;
  model: string;
  stems: string[];
  gate: string;
  state: State;
  /** Place in the queue, from 1; null where it does not wait. */
  position: number | null;
  /** 0 to 1; null where the song's length is not known. */
  progress: number | null;
  seconds_done: number;
  seconds_total: number | null;
  /** Seconds of song per second. */
  speed: number | null;
  /** Seconds until the song is done. */
  eta: number | null;
  error: string | null;
  warnings: string[];
  created: string;
  started: string | null;
  finished: string | null;
  expires: string | null;
  /** Bytes on disk. */
  size: number;
}

export interface Model {
  name: string;
  description: string;
  sources: string[];
  activity_sources: string[];
  default: boolean;
}

export interface Limits {
  /** Bytes of a song. */
  max_upload: number;
  /** Days after which a finished song is removed. */
  keep_days: number;
}

/** What is wanted of a song. */
export interface Order {
  /** Empty: the server's default. */
  model: string;
  /** Empty: all that the model has. */
  stems: string[];
  gate: string;
}

/** An answer that is no success; `status` 0: there was no answer. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    sentence: string,
    /** Seconds after which to ask again, where the server says so. */
    readonly retryAfter: number | null = null,
  ) {
    super(sentence);
  }
}

const UNREACHABLE = "The studio does not answer.";

export const listModels = (): Promise<Model[]> => ask<Model[]>("/api/models");

export const readLimits = (): Promise<Limits> => ask<Limits>("/api/limits");

export const listJobs = async (): Promise<Job[]> =>
  (await ask<{ jobs: Job[] }>("/api/jobs")).jobs;

export const cancelJob = (id: string): Promise<unknown> => ask(`${path(id)}/cancel`, "POST");

export const retryJob = (id: string): Promise<unknown> => ask(`${path(id)}/retry`, "POST");

export const deleteJob = (id: string): Promise<unknown> => ask(path(id), "DELETE");

export const readMultitrack = (id: string, signal: AbortSignal): Promise<Multitrack> =>
  ask<Multitrack>(`${path(id)}/multitrack`, "GET", signal);

/** Wait until a download is made; the browser fetches it by itself, and keeps what went wrong to itself. */
export async function awaitDownload(url: string): Promise<void> {
  const response = await fetch(url, { method: "HEAD", cache: "no-store" }).catch(() => null);
  if (!response?.ok) await answer(url, "GET"); // whose refusal has the sentence
}

/** Exchange the token for a cookie that scripts cannot read. */
export async function unlock(token: string): Promise<void> {
  await answer(`/?token=${encodeURIComponent(token)}`, "GET");
  await listModels();
}

/** Address of a job, or of something it has. */
export function path(id: string, below = "", query: Record<string, string> = {}): string {
  const parameters = new URLSearchParams(query).toString();
  return `/api/jobs/${encodeURIComponent(id)}${below}${parameters ? `?${parameters}` : ""}`;
}

async function ask<T>(url: string, method = "GET", signal?: AbortSignal): Promise<T> {
  const response = await answer(url, method, signal);
  return (response.status === 204 ? null : await response.json()) as T;
}

async function answer(url: string, method: string, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { method, cache: "no-store", signal: signal ?? null });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(0, UNREACHABLE);
  }
  if (!response.ok) {
    throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
  }
  return response;
}

function refusal(status: number, body: string, retryAfter: string | null): Refusal {
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  return new Refusal(status, sentence(status, body), Number.isFinite(seconds) ? seconds : null);
}

function sentence(status: number, body: string): string {
  try {
    const detail: unknown = JSON.parse(body).detail;
    if (typeof detail === "string" && detail) return detail;
  } catch {
    // not this server's answer, but one of a proxy before it
  }
  return `The studio answered with the error ${status}.`;
}

export interface Sending {
  job: Promise<Job>;
  abort(): void;
}

/** Send a file; XMLHttpRequest, because fetch tells nothing of what has been sent. */
export function sendSong(file: File, order: Order, progress: (share: number) => void): Sending {
  const request = new XMLHttpRequest();
  const job = new Promise<Job>((resolve, reject) => {
    request.upload.onprogress = (event) => {
      if (event.lengthComputable && event.total > 0) progress(event.loaded / event.total);
    };
    request.onload = () => {
      if (request.status === 201) resolve(JSON.parse(request.responseText) as Job);
      else {
        const after = request.getResponseHeader("Retry-After");
        reject(refusal(request.status, request.responseText, after));
      }
    };
    request.onerror = () => reject(new Refusal(0, "The connection broke while the song was sent."));
    request.onabort = () => reject(new DOMException("The upload was cancelled.", "AbortError"));
    request.open("POST", `/api/jobs?${query(file.name, order)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(file);
  });
  return { job, abort: () => request.abort() };
}

function query(name: string, order: Order): URLSearchParams {
  const parameters = new URLSearchParams({ name, gate: order.gate });
  if (order.model) parameters.set("model", order.model);
  if (order.stems.length > 0) parameters.set("stems", order.stems.join(","));
  return parameters;
}

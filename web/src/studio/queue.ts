/** The list of songs: those being sent, waiting, separated, and those that are ready. */

import type { Job } from "./api";
import { iconButton, make, part, write } from "./dom";
import type { Actions } from "./actions";
import type { Jobs } from "./jobs";
import { describe, isActive, setBar } from "./progress";
import type { Upload, Uploads } from "./uploads";
import { list, percent, title } from "./words";

/** What a line shows; the same for a song on its way and for one that the server has. */
interface Content {
  key: string;
  name: string;
  state: string;
  note: string;
  /** undefined: no bar. */
  share: number | null | undefined;
  sentence: string | null;
  href: string | null;
}

export class Queue {
  private readonly rows = new Map<string, Row>();
  /** For each song that is being sent, the jobs that were there before. */
  private readonly before = new Map<string, Set<string>>();
  private readonly element = part<HTMLUListElement>("queue");

  constructor(
    private readonly jobs: Jobs,
    private readonly uploads: Uploads,
    private readonly actions: Actions,
  ) {}

  update(): void {
    const jobs = this.jobs.list();
    const active = jobs.filter(isActive).map((job) => this.ofJob(job));
    const rest = jobs.filter((job) => !isActive(job)).map((job) => this.ofJob(job));
    const sent = this.uploads.list.filter((one) => !this.isKnown(one));
    const rows = [...active, ...sent.map((one) => this.ofUpload(one)), ...rest];
    this.arrange(rows);
    part("empty").hidden = !this.jobs.known || rows.length > 0;
    document.body.classList.toggle("has-songs", rows.length > 0);
  }

  /** Whether an event told of a song's job before the answer to its upload: one line is enough. */
  private isKnown(upload: Upload): boolean {
    if (upload.state !== "sending") {
      this.before.delete(upload.key);
      return false;
    }
    const jobs = this.jobs.list();
    const before = this.before.get(upload.key) ?? new Set(jobs.map((job) => job.id));
    this.before.set(upload.key, before);
    const name = title(upload.file.name);
    return jobs.some((job) => !before.has(job.id) && title(job.name) === name);
  }

  /** Put the lines into this order; one that has the focus keeps it when it moves. */
  private arrange(rows: Row[]): void {
    const focused = document.activeElement;
    const present = new Set(rows);
    for (const [key, row] of this.rows) {
      if (present.has(row)) continue;
      if (row.element.contains(focused)) this.focusNear(row);
      row.element.remove();
      this.rows.delete(key);
    }
    rows.forEach((row, index) => {
      const there = this.element.children[index];
      if (there !== row.element) this.element.insertBefore(row.element, there ?? null);
    });
    if (focused instanceof HTMLElement && focused !== document.activeElement) {
      if (this.element.contains(focused)) focused.focus();
    }
  }

  private focusNear(row: Row): void {
    const near = row.element.nextElementSibling ?? row.element.previousElementSibling;
    const target = near?.querySelector<HTMLElement>("a, button") ?? part("choose");
    target.focus();
  }

  private ofJob(job: Job): Row {
    const row = this.row(job.id);
    const name = title(job.name);
    row.show({
      key: job.id,
      name,
      state: job.state,
      note: job.state === "done" ? `${describe(job)} · ${list(job.stems)}` : describe(job),
      share: job.state === "running" ? job.progress : undefined,
      sentence: job.error,
      href: `#${job.id}`,
    });
    row.offer({
      cancel: isActive(job) ? [`Cancel ${name}`, () => this.actions.cancel(job)] : null,
      retry:
        job.state === "failed" || job.state === "cancelled"
          ? [`Try ${name} again`, () => this.actions.retry(job)]
          : null,
      delete: isActive(job) ? null : [`Delete ${name}`, () => this.actions.remove(job)],
    });
    return row;
  }

  private ofUpload(upload: Upload): Row {
    const row = this.row(upload.key);
    const name = title(upload.file.name);
    const failed = upload.state === "failed";
    row.show({
      key: upload.key,
      name,
      state: failed ? "failed" : "uploading",
      note: failed ? "Not added" : uploadNote(upload),
      share: upload.state === "sending" ? (upload.sent < 1 ? upload.sent : null) : undefined,
      sentence: upload.sentence,
      href: null,
    });
    row.offer({
      cancel: failed ? null : [`Cancel ${name}`, () => this.uploads.remove(upload)],
      retry: failed ? [`Try ${name} again`, () => this.uploads.retry(upload)] : null,
      delete: failed ? [`Dismiss ${name}`, () => this.uploads.remove(upload)] : null,
    });
    return row;
  }

  private row(key: string): Row {
    let row = this.rows.get(key);
    if (row === undefined) {
      row = new Row();
      this.rows.set(key, row);
    }
    return row;
  }
}

function uploadNote(upload: Upload): string {
  if (upload.state === "waiting") return "Waiting to be sent";
  return upload.sent < 1 ? `Sending, ${percent(upload.sent)}` : "Sent, being looked at";
}

type Offer = [label: string, press: () => void] | null;
type Offers = Record<"cancel" | "retry" | "delete", Offer>;

class Row {
  readonly element = make("li", { class: "song-row" });
  private readonly name = make("a", { class: "song-name" });
  private readonly note = make("span", { class: "song-note" });
  private readonly bar = make("progress", { max: "1" });
  private readonly sentence = make("p", { class: "song-sentence" });
  private readonly buttons = make("div", { class: "song-buttons" });
  private offered = "";
  private readonly press = new Map<string, () => void>();

  constructor() {
    const text = make("div", { class: "song-text" }, this.name, this.note);
    this.element.append(
      make("span", { class: "song-mark", "aria-hidden": "true" }),
      text,
      this.buttons,
      this.bar,
      this.sentence,
    );
  }

  show(content: Content): void {
    this.element.dataset.state = content.state;
    this.element.dataset.key = content.key;
    write(this.name, content.name);
    if (content.href === null) this.name.removeAttribute("href");
    else this.name.setAttribute("href", content.href);
    write(this.note, content.note);
    this.bar.hidden = content.share === undefined;
    this.bar.setAttribute("aria-label", `Progress of ${content.name}`);
    if (content.share !== undefined) setBar(this.bar, content.share);
    write(this.sentence, content.sentence ?? "");
    this.sentence.hidden = content.sentence === null;
  }

  /** Buttons are made anew only where others are offered, so that focus and clicks are not lost. */
  offer(offers: Offers): void {
    const wanted = Object.entries(offers).filter((entry) => entry[1] !== null);
    const focused = this.buttons.contains(document.activeElement);
    this.press.clear();
    for (const [kind, offer] of wanted) this.press.set(kind, offer![1]);
    const signature = wanted.map(([kind, offer]) => `${kind} ${offer![0]}`).join("\n");
    if (signature === this.offered) return;
    this.offered = signature;
    this.buttons.replaceChildren(
      ...wanted.map(([kind, offer]) =>
        iconButton(kind as keyof Offers, offer![0], () => this.press.get(kind)?.()),
      ),
    );
    if (focused) (this.buttons.querySelector("button") ?? this.name).focus();
  }
}

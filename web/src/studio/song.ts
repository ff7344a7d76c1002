/** One song: its progress while it is made, then the multitrack player and what can be taken. */

import type { Multitrack } from "../player/multitrack";
import { type Player, createPlayer } from "../player/player";
import { type Job, Refusal, readMultitrack } from "./api";
import type { Actions } from "./actions";
import { icon, make, part, write } from "./dom";
import { Downloads } from "./downloads";
import type { Jobs } from "./jobs";
import { isActive, setBar, speed } from "./progress";
import { bytes, clock, date, list, percent, place, remaining, title } from "./words";

export class SongView {
  private id: string | null = null;
  /** What the body shows: a job's state, so that it is built anew when that becomes another. */
  private shown = "";
  private player: Player | null = null;
  private progress: Progress | null = null;
  /** Aborted when what is being read is no longer wanted. */
  private reading = new AbortController();
  private readonly body = part("song-body");

  constructor(
    private readonly jobs: Jobs,
    private readonly actions: Actions,
  ) {
    part("song-delete").append(icon("delete"));
    part("song-delete").addEventListener("click", () => {
      const job = this.job;
      if (job !== undefined) this.actions.remove(job);
    });
  }

  /** Show a song, or none; the heading gets the focus where a person went there. */
  open(id: string | null, focus: boolean): void {
    if (id === this.id) return;
    this.id = id;
    this.shown = "";
    this.clear();
    this.update();
    if (focus && id !== null) part("song-title").focus();
  }

  update(): void {
    if (this.id === null || !this.jobs.known) return;
    const job = this.job;
    part("song-delete").hidden = job === undefined || isActive(job);
    write(part("song-title"), job === undefined ? "Not here" : title(job.name));
    write(part("song-facts"), job === undefined ? "" : facts(job));
    const shown = job === undefined ? "missing" : `${job.state} ${job.finished ?? ""}`;
    if (isSame(this.shown, shown)) {
      if (job !== undefined) this.progress?.show(job);
      return;
    }
    this.shown = shown;
    this.clear();
    if (job === undefined) this.missing();
    else if (job.state === "done") void this.play(job);
    else this.wait(job);
  }

  private get job(): Job | undefined {
    return this.id === null ? undefined : this.jobs.get(this.id);
  }

  private clear(): void {
    this.reading.abort();
    this.reading = new AbortController();
    this.player?.destroy();
    this.player = null;
    this.progress = null;
    this.body.replaceChildren();
  }

  private missing(): void {
    this.body.append(
      make("p", { class: "card notice" }, "This song was deleted, or its time here has run out."),
    );
  }

  private wait(job: Job): void {
    this.progress = new Progress(job, this.actions);
    this.body.append(this.progress.element);
  }

  private async play(job: Job): Promise<void> {
    const busy = make("p", { class: "card notice" }, "Opening the player…");
    this.body.append(busy);
    const { signal } = this.reading;
    try {
      this.show(job, await readMultitrack(job.id, signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      const again = make("button", { type: "button", class: "button" }, "Try again");
      again.addEventListener("click", () => {
        this.shown = "";
        this.update();
      });
      busy.replaceChildren(error.message, " ", again);
    }
  }

  private show(job: Job, song: Multitrack): void {
    const root = make("div", { class: "player-root", id: "player" });
    this.body.replaceChildren(root);
    if (job.warnings.length > 0) {
      const lines = job.warnings.map((warning) => make("li", {}, warning));
      this.body.prepend(make("ul", { class: "warnings" }, ...lines));
    }
    const player = createPlayer(root, song);
    this.player = player;
    const downloads = new Downloads(job.id, song, player);
    player.addEventListener("change", () => downloads.update());
    this.body.append(downloads.element);
  }
}

/** A queued job that begins to run is still waited for in the same place. */
function isSame(before: string, now: string): boolean {
  const waiting = (key: string): boolean => /^(queued|running) /.test(key);
  return before === now || (waiting(before) && waiting(now));
}

function facts(job: Job): string {
  const parts = [job.model, list(job.stems)];
  if (job.gate !== "off") parts.push(`gate ${job.gate}`);
  if (job.seconds_total !== null) parts.unshift(clock(job.seconds_total));
  if (job.state === "done" && job.size > 0) parts.push(bytes(job.size));
  if (job.state === "done" && job.expires !== null) parts.push(`kept until ${date(job.expires)}`);
  return parts.join("\u00a0· "); // lines break after the dots
}

/** A job that waits, runs, or came to nothing. */
class Progress {
  readonly element = make("div", { class: "card progress-card" });
  private readonly head = make("p", { class: "progress-head" });
  private readonly lanes = lanes();
  private readonly bar = make("progress", { max: "1", "aria-label": "Progress" });
  private readonly detail = make("p", { class: "progress-detail" });
  private readonly sentence = make("p", { class: "song-sentence" });

  constructor(job: Job, actions: Actions) {
    const buttons = make("p", { class: "line" });
    if (isActive(job)) {
      const cancel = make("button", { type: "button", class: "button" }, "Cancel");
      cancel.addEventListener("click", () => actions.cancel(job));
      buttons.append(cancel);
    } else {
      const retry = make("button", { type: "button", class: "button primary" }, "Try again");
      retry.addEventListener("click", () => actions.retry(job));
      buttons.append(retry);
    }
    const parts = [this.lanes, this.head, this.bar, this.detail, this.sentence, buttons];
    this.element.append(...parts);
    this.show(job);
  }

  show(job: Job): void {
    this.element.dataset.state = job.state;
    write(this.head, heading(job));
    this.lanes.hidden = !isActive(job);
    this.lanes.style.setProperty("--done", String(job.progress ?? 0));
    this.bar.hidden = !isActive(job);
    setBar(this.bar, job.state === "queued" ? 0 : job.progress);
    write(this.detail, detail(job));
    write(this.sentence, job.error ?? "");
    this.sentence.hidden = job.error === null;
  }
}

/** Lanes that gain their colours from left to right. */
function lanes(): HTMLElement {
  const drawing = part<HTMLTemplateElement>("lanes").content;
  const layers = ["to-do", "done"].map((layer) => {
    const copy = make("div", { class: layer });
    copy.append(drawing.cloneNode(true));
    return copy;
  });
  return make("div", { class: "lanes", "aria-hidden": "true" }, ...layers);
}

function heading(job: Job): string {
  if (job.state === "queued") return "Waiting";
  if (job.state === "running") return job.progress === null ? "Separating" : percent(job.progress);
  return job.state === "failed" ? "This song could not be separated" : "Cancelled";
}

function detail(job: Job): string {
  if (job.state === "queued") return job.position === null ? "" : place(job.position);
  if (job.state !== "running") return "";
  const done = clock(job.seconds_done);
  const parts = [
    job.seconds_total === null ? `${done} done` : `${done} of ${clock(job.seconds_total)}`,
  ];
  if (job.speed !== null) parts.push(speed(job.speed));
  if (job.eta !== null) parts.push(remaining(job.eta));
  return parts.join(" · ");
}

/** What can be done with a song; refusals are told in the server's words. */

import { type Job, Refusal, cancelJob, deleteJob, retryJob } from "./api";
import { part, write } from "./dom";
import type { Jobs } from "./jobs";
import { tell } from "./news";
import { title } from "./words";

export class Actions {
  private readonly dialog = part<HTMLDialogElement>("confirm");
  private doomed: Job | null = null;

  constructor(private readonly jobs: Jobs) {
    // not the event "close": it comes late, when the dialog may be open again for another song
    this.dialog.addEventListener("submit", (event) => {
      const answer = event.submitter instanceof HTMLButtonElement ? event.submitter.value : "";
      if (answer === "delete" && this.doomed !== null) void this.delete(this.doomed);
    });
  }

  cancel(job: Job): void {
    void this.attempt(() => cancelJob(job.id));
  }

  retry(job: Job): void {
    void this.attempt(() => retryJob(job.id));
  }

  /** Delete a song and what was made of it, if that is confirmed. */
  remove(job: Job): void {
    this.doomed = job;
    write(part("confirm-name"), title(job.name));
    this.dialog.showModal();
  }

  private async delete(job: Job): Promise<void> {
    // its player must not go on loading what is about to be gone
    if (location.hash === `#${job.id}`) await leave();
    const deleted = await this.attempt(() => deleteJob(job.id), [404]);
    if (!deleted) return;
    this.jobs.drop(job.id);
    tell(`${title(job.name)} was deleted.`);
  }

  /** `fine`: statuses that are as good as success. */
  private async attempt(call: () => Promise<unknown>, fine: number[] = []): Promise<boolean> {
    try {
      await call();
      return true;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (fine.includes(error.status)) return true;
      tell(error.message, true);
      return false;
    }
  }
}

/** Back to the list; resolves when the song is closed. */
function leave(): Promise<Event> {
  return new Promise((resolve) => {
    window.addEventListener("hashchange", resolve, { once: true });
    location.hash = "";
  });
}

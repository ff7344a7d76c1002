/** What to say of a job that is not done. */

import type { Job } from "./api";
import { clock, percent, place, remaining } from "./words";

/** One line: "43 % · 2.1× real time · 12 s left". */
export function describe(job: Job): string {
  switch (job.state) {
    case "queued":
      return job.position === null ? "Waiting" : `Waiting, ${place(job.position)}`;
    case "running":
      return figures(job).join(" · ") || "Starting";
    case "failed":
      return "Failed";
    case "cancelled":
      return "Cancelled";
    case "done":
      return job.seconds_total === null ? "Ready" : clock(job.seconds_total);
  }
}

function figures(job: Job): string[] {
  const parts: string[] = [];
  if (job.progress !== null) parts.push(percent(job.progress));
  else if (job.seconds_done > 0) parts.push(`${clock(job.seconds_done)} done`);
  if (job.speed !== null) parts.push(speed(job.speed));
  if (job.eta !== null) parts.push(remaining(job.eta));
  return parts;
}

export function speed(factor: number): string {
  return `${factor < 10 ? factor.toFixed(1) : Math.round(factor)}× real time`;
}

/** Show a share, or that something goes on whose length is not known. */
export function setBar(bar: HTMLProgressElement, share: number | null): void {
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

/** Whether a job still changes by itself. */
export function isActive(job: Job): boolean {
  return job.state === "queued" || job.state === "running";
}

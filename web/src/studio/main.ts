/** The studio: drops become uploads, uploads become jobs, and the address says which song is open. */

import "../theme.css";
import "./studio.css";
import { Actions } from "./actions";
import { Refusal, readLimits } from "./api";
import { Choices } from "./choices";
import { part, write } from "./dom";
import { watchDrops } from "./dropping";
import { Jobs, type Transition } from "./jobs";
import { tell } from "./news";
import { isActive } from "./progress";
import { Queue } from "./queue";
import { SongView } from "./song";
import { type Arrival, type Upload, Uploads } from "./uploads";
import { bytes, percent, songs, title } from "./words";

const NAME = "stemwise studio";
const jobs = new Jobs();
const uploads = new Uploads();
const choices = new Choices();
const actions = new Actions(jobs);
const queue = new Queue(jobs, uploads, actions);
const song = new SongView(jobs, actions);

/** The id in the address, so that a reload and a bookmark open the same song. */
function openId(): string | null {
  return location.hash.length > 1 ? location.hash.slice(1) : null;
}

function take(files: File[]): void {
  if (files.length === 0 || jobs.link === "locked") return;
  const order = choices.order();
  if (order === null) {
    location.hash = ""; // to where the complaint is
    return;
  }
  uploads.add(files, order);
  const one = files.length === 1;
  const what = one ? `${title(files[0]!.name)} was added.` : `${songs(files.length)} were added.`;
  tell(what, openId() !== null);
}

function navigate(focus: boolean): void {
  const id = openId();
  part("home").hidden = id !== null;
  part("song").hidden = id === null;
  song.open(id, focus);
  if (focus && id === null) part("home-title").focus();
  if (focus) window.scrollTo(0, 0);
  show();
}

function show(): void {
  const locked = jobs.link === "locked";
  document.body.classList.toggle("is-known", jobs.link !== "connecting");
  if (locked && part("locked").hidden) focusToken();
  part("locked").hidden = !locked;
  part("views").hidden = locked;
  part("banner").hidden = jobs.link !== "offline";
  queue.update();
  song.update();
  showActivity();
}

function focusToken(): void {
  part("locked").hidden = false;
  part("token").focus();
}

/** What goes on, in the header and in the title of the window. */
function showActivity(): void {
  const id = openId();
  const open = id === null ? undefined : jobs.get(id);
  const active = jobs.list().filter(isActive);
  const running = active.find((job) => job.state === "running");
  const count = active.length + uploads.list.filter((one) => one.state !== "failed").length;
  const share = running?.progress ?? null;
  const pill = part("activity");
  pill.hidden = count === 0;
  write(part("activity-count"), songs(count));
  write(part("activity-share"), share === null ? "" : `, ${percent(share)}`);
  const name = open === undefined ? NAME : `${title(open.name)} – ${NAME}`;
  document.title = share === null ? name : `${percent(share)} – ${name}`;
}

function moved({ job }: Transition): void {
  const name = title(job.name);
  if (job.state === "running") tell(`Separating ${name}.`);
  if (job.state === "done") tell(`${name} is ready.`, openId() !== null && openId() !== job.id);
  if (job.state === "failed") tell(`${name} failed: ${job.error ?? "no reason was given."}`);
  if (job.state === "cancelled") tell(`${name} was cancelled.`);
}

function load(): void {
  for (const loading of [choices.load(), showLimits()]) {
    loading.catch((error: unknown) => {
      // a link that is down or locked is told of by the banner or the form, and tried again
      if (!(error instanceof Refusal)) throw error;
    });
  }
}

async function showLimits(): Promise<void> {
  const line = part("limits");
  if (line.textContent !== "") return;
  const { max_upload, keep_days } = await readLimits();
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const where = local ? "on this computer" : `on ${location.hostname}`;
  const days = keep_days === 1 ? "a day" : `${Number(keep_days.toFixed(1))} days`;
  write(line, `Songs and stems stay ${where}, for ${days}. A song may have up to ${bytes(max_upload)}.`);
}

function watch(): void {
  jobs.addEventListener("change", () => {
    if (jobs.link === "online") load();
    show();
  });
  jobs.addEventListener("moved", (event) => moved((event as CustomEvent<Transition>).detail));
  jobs.addEventListener("back", () => uploads.resume());
  uploads.addEventListener("change", show);
  uploads.addEventListener("arrived", (event) => {
    const { job, alone } = (event as CustomEvent<Arrival>).detail;
    jobs.add(job);
    if (alone && openId() === null) location.hash = job.id;
  });
  uploads.addEventListener("refused", (event) => {
    const upload = (event as CustomEvent<Upload>).detail;
    tell(`${title(upload.file.name)}: ${upload.sentence ?? ""}`, openId() !== null);
    if (upload.status === 401) jobs.connect();
  });
  window.addEventListener("hashchange", () => navigate(true));
  window.addEventListener("beforeunload", (event) => {
    if (uploads.busy) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) jobs.refresh();
  });
  // a computer that slept may hold a stream that is dead without knowing
  window.addEventListener("online", () => jobs.connect());
}

function listen(): void {
  const files = part<HTMLInputElement>("files");
  part("choose").addEventListener("click", (event) => {
    event.stopPropagation();
    files.click();
  });
  part("drop").addEventListener("click", () => files.click());
  files.addEventListener("change", () => {
    take([...(files.files ?? [])]);
    files.value = "";
  });
  watchDrops(take);
  part("reconnect").addEventListener("click", () => jobs.connect());
  part("unlock").addEventListener("submit", (event) => {
    event.preventDefault();
    void enter();
  });
}

async function enter(): Promise<void> {
  const field = part<HTMLInputElement>("token");
  const complaint = part("token-error");
  complaint.hidden = true;
  try {
    await jobs.unlock(field.value.trim());
    field.value = "";
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    write(complaint, error.status === 401 ? "This is not the token of this studio." : error.message);
    complaint.hidden = false;
    field.focus();
  }
}

watch();
listen();
navigate(false);
jobs.connect();

/** The whole window takes songs: files, and folders of them. */

import { part } from "./dom";

/** Call `take` with the files of every drop; the veil shows while something is held above. */
export function watchDrops(take: (files: File[]) => void): void {
  const veil = part("veil");
  let depth = 0;
  const carriesFiles = (event: DragEvent): boolean =>
    event.dataTransfer?.types.includes("Files") ?? false;
  const show = (change: number): void => {
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };

  window.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(1);
  });
  window.addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) show(-1);
  });
  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = "copy";
  });
  // no pointer moves while something is dragged: it was let go where nobody told
  window.addEventListener("pointermove", () => show(-depth));
  window.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    show(-depth);
    if (event.dataTransfer !== null) void dropped(event.dataTransfer).then(take);
  });
}

/** The files of a drop in the order of their names; of folders those that may be recordings. */
async function dropped(transfer: DataTransfer): Promise<File[]> {
  // both lists are emptied when the event is over, so they are read before anything is awaited
  const plain = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const found = await Promise.all(entries.map((entry) => (entry === null ? [] : walk(entry, true))));
  return found.flat().sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

const RECORDING = /\.(wav|wave|flac|mp3|ogg|oga|opus|m4a|mp4|aac|aiff?)$/i;

/** What was dropped itself is taken, whatever it is called: the server says what is wrong. */
async function walk(entry: FileSystemEntry, named: boolean): Promise<File[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    return named || RECORDING.test(file.name) ? [file] : [];
  }
  const files: File[] = [];
  for (const one of await children(entry as FileSystemDirectoryEntry)) {
    files.push(...(await walk(one, false)));
  }
  return files;
}

/** Readers hand out a folder in portions, and an empty one at its end. */
async function children(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

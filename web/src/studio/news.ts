/** One line for what happens: read out politely, and shown for a while where it is an error. */

import { part, write } from "./dom";

const SHOWN_FOR = 8000;
let timer = 0;

/** `shown`: also for those who see. */
export function tell(sentence: string, shown = false): void {
  const line = part("news");
  write(line, sentence);
  line.classList.toggle("unseen", !shown);
  window.clearTimeout(timer);
  if (shown) timer = window.setTimeout(() => line.classList.add("unseen"), SHOWN_FOR);
}

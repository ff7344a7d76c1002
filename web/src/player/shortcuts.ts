/** Keys: what each does, told in a dialog. */

import { element, icon } from "./dom";

export interface Shortcut {
  /** As they are shown; the first is also what is compared, when `matches` is absent. */
  keys: string[];
  tells: string;
  matches: (event: KeyboardEvent) => boolean;
  run: (event: KeyboardEvent) => void;
}

const CLOSE = "M6 6l12 12M18 6L6 18";
const TYPED_INTO = "input:not([type=range]), textarea, select, [contenteditable]";

/** Where the browser remembers that somebody, who perhaps speaks to it, wants no letters as keys. */
const LETTERS = "stemwise-letter-keys";
let letters = remembered();
const PRESSABLE = "button, a[href], summary, [role=button]";

/** Listens on the whole page; returns what ends that. */
export function listen(shortcuts: Shortcut[]): () => void {
  const end = new AbortController();
  const { signal } = end;
  let clicked: Element | null = null;
  const pressed = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]") !== null || keepsItsKeys(event, clicked)) return;
    if (event.key.length === 1 && event.key !== " " && !letters) return;
    const shortcut = shortcuts.find(({ matches }) => matches(event));
    if (shortcut === undefined) return;
    event.preventDefault();
    shortcut.run(event);
  };
  document.addEventListener("keydown", pressed, { signal });
  const pointed = ({ target }: Event): void => {
    clicked = target instanceof Element ? target.closest(PRESSABLE) : null;
  };
  document.addEventListener("pointerdown", pointed, { signal, capture: true });
  document.addEventListener("focusout", () => (clicked = null), { signal });
  return () => end.abort();
}

/** A focused control has its own use for some keys. */
function keepsItsKeys(event: KeyboardEvent, clicked: Element | null): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.closest(TYPED_INTO) !== null) return true;
  if (target.matches("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(event.key);
  // a button that was clicked keeps the focus, but whoever tabs to one wants to press it
  const pressable = target.closest(PRESSABLE);
  return pressable !== null && (event.key === "Enter" || (event.key === " " && pressable !== clicked));
}

export function helpDialog(shortcuts: Shortcut[], more: string[]): HTMLDialogElement {
  const entries = shortcuts.flatMap(({ keys, tells }) => [
    element("dt", {}, ...keys.flatMap((key, index) => [...(index > 0 ? [" "] : []), element("kbd", {}, key)])),
    element("dd", {}, tells),
  ]);
  const close = element("button.plain", { type: "button", "aria-label": "Close" }, icon(CLOSE));
  const dialog = element(
    "dialog.player-help",
    { "aria-label": "Keyboard shortcuts" },
    element("header", {}, element("h2", {}, "Keyboard shortcuts"), close),
    element("dl", {}, ...entries),
    ...more.map((text) => element("p", {}, text)),
  );
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => wantLetters(box.checked));
  box.checked = letters;
  dialog.append(element("label", {}, box, "Letters, digits and signs work as keys"));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  return dialog;
}

function remembered(): boolean {
  try {
    return localStorage.getItem(LETTERS) !== "off";
  } catch {
    return true; // a browser may keep pages from remembering
  }
}

function wantLetters(on: boolean): void {
  letters = on;
  try {
    localStorage.setItem(LETTERS, on ? "on" : "off");
  } catch {
    // as above: it holds until the page is closed
  }
}

export const key =
  (...names: string[]) =>
  (event: KeyboardEvent): boolean =>
    names.includes(event.key.length === 1 ? event.key.toLowerCase() : event.key);

/** 0..9 of a digit key, with or without Shift; -1 of others. */
export function digit(event: KeyboardEvent): number {
  const found = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
  return found === null ? -1 : Number(found[1]);
}

/** The multitrack player: everything of it, put together in one element. */

import "../theme.css";
import "./player.css";
import { TimeAxis } from "./axis";
import { element } from "./dom";
import { createEngine, type Engine, type Loop } from "./engine";
import { Mix } from "./mix";
import type { Multitrack } from "./multitrack";
import { Row } from "./row";
import { Ruler } from "./ruler";
import { digit, helpDialog, key, listen, type Shortcut } from "./shortcuts";
import { Transport } from "./transport";
import { loudest } from "./waveform";

export interface PlayerOptions {
  /** For pages whose Content-Security-Policy wants a nonce on style elements. */
  cspNonce?: string;
}

/** Seconds of a loop that is made without saying how long. */
const LOOP = 8;
const SHORTEST_LOOP = 0.1;

export function createPlayer(root: HTMLElement, song: Multitrack, options: PlayerOptions = {}): Player {
  return new Player(root, song, options);
}

/** Event "change": the mix changed, see `gains` and `onlyActive`. */
export class Player extends EventTarget {
  private readonly mix: Mix;
  private readonly engine: Engine;
  private readonly transport: Transport;
  private readonly ruler: Ruler;
  private readonly rows: Row[];
  private readonly axis: TimeAxis;
  private readonly message = element("p.message", { role: "status" });
  private readonly help: HTMLDialogElement;
  private readonly body: HTMLElement;
  private readonly endings: (() => void)[] = [];
  private loop: Loop | null = null;
  private frame = 0;

  constructor(
    private readonly root: HTMLElement,
    private readonly song: Multitrack,
    { cspNonce }: PlayerOptions,
  ) {
    super();
    this.mix = new Mix(song);
    this.engine = createEngine(song);
    this.ruler = new Ruler(song.duration, { loop: (loop) => this.setLoop(loop) }, cspNonce);
    const peak = loudest(song.tracks);
    const shared = { song, mix: this.mix, scale: peak > 0 ? 1 / peak : 1, loudest: this.engine.loudest, cspNonce };
    this.rows = song.tracks.map((track) => new Row(track, shared));
    this.transport = new Transport(song.duration, this.mix, {
      toggle: () => this.toggle(),
      loop: () => this.toggleLoop(),
      zoom: (direction) => this.zoom(direction),
      help: () => this.help.showModal(),
    });
    const shortcuts = this.shortcuts();
    this.help = helpDialog(shortcuts, [
      "Click or drag on a waveform to go there. Drag on the time axis, or double-click where a stem plays, to loop. " +
        "Double-click a volume to bring it back to 0 dB.",
    ]);
    const timeline = element(
      "div.timeline",
      {},
      element("div.row.time", {}, element("div.head"), this.ruler.axis),
      ...this.rows.map((row) => row.root),
    );
    const scroller = element("div.scroller", {}, timeline);
    this.body = element("div.player", { role: "region", "aria-label": `Player: ${song.title}` });
    this.body.append(this.transport.root, this.message, scroller, this.help);
    root.replaceChildren(this.body);
    Object.assign(root, { player: this });
    const axes = [this.ruler.axis, ...this.rows.map((row) => row.axis)];
    this.axis = new TimeAxis(scroller, timeline, axes, song.duration, {
      seek: (seconds) => this.seek(seconds),
      resized: (width) => this.resized(width),
    });
    this.connect(shortcuts);
  }

  private connect(shortcuts: Shortcut[]): void {
    this.mix.addEventListener("change", () => this.mixed());
    this.engine.addEventListener("state", () => this.showState());
    for (const row of this.rows) row.axis.addEventListener("dblclick", (event) => this.loopSegment(row, event));
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const recolour = (): void => this.rows.forEach((row) => row.redraw());
    dark.addEventListener("change", recolour);
    this.endings.push(() => dark.removeEventListener("change", recolour), listen(shortcuts));
    this.mixed();
    this.showState();
    this.showPosition();
    const idle = window.setTimeout(() => this.engine.prepare(), 200);
    this.endings.push(() => window.clearTimeout(idle));
  }

  // ---- for the page around it

  /** Linear gain of each stem after mute, solo and volume. */
  gains(): Record<string, number> {
    return this.mix.gains();
  }

  /** The stem that has its gain only inside its segments, and is as in the song elsewhere; or null. */
  onlyActive(): string | null {
    return this.mix.onlyActive();
  }

  /** Seconds. */
  position(): number {
    return this.engine.position();
  }

  /** RMS, 0..1, of what is heard now of a track, or of "master". */
  level(track: string): number {
    return this.engine.level(track);
  }

  get playing(): boolean {
    return this.engine.playing;
  }

  play(): Promise<void> {
    return this.engine.play();
  }

  pause(): void {
    this.engine.pause();
  }

  seek(seconds: number): void {
    this.engine.seek(Math.max(0, Math.min(this.song.duration, seconds)));
    this.showPosition();
  }

  setLoop(loop: Loop | null): void {
    this.loop = loop === null ? null : this.possible(loop);
    this.engine.setLoop(this.loop);
    this.ruler.showLoop(this.loop);
    this.axis.showLoop(this.loop);
    this.transport.showLoop(this.ruler.loopText);
    this.showPosition();
  }

  /** Within the song, and long enough to be heard. */
  private possible({ start, end }: Loop): Loop {
    const last = Math.min(this.song.duration, Math.max(end, Math.max(0, start) + SHORTEST_LOOP));
    return { start: Math.max(0, Math.min(start, last - SHORTEST_LOOP)), end: last };
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    for (const end of this.endings) end();
    this.engine.destroy();
    this.axis.destroy();
    this.ruler.destroy();
    this.transport.destroy();
    for (const row of this.rows) row.destroy();
    this.root.replaceChildren();
    Object.assign(this.root, { player: undefined });
  }

  // ---- what hands do

  private toggle(): void {
    if (this.engine.playing) this.engine.pause();
    else void this.engine.play();
  }

  private toggleLoop(): void {
    if (this.loop !== null) return this.setLoop(null);
    const start = Math.max(0, Math.min(this.position(), this.song.duration - LOOP));
    this.setLoop({ start, end: Math.min(this.song.duration, start + LOOP) });
  }

  /** Sets one end of the loop to where the song is; the other moves where it must. */
  private loopEnd(side: "start" | "end"): void {
    const at = this.position();
    const { start, end } = this.loop ?? { start: 0, end: this.song.duration };
    if (side === "start") this.setLoop({ start: at, end: end - at >= SHORTEST_LOOP ? end : at + LOOP });
    else this.setLoop({ start: at - start >= SHORTEST_LOOP ? start : at - LOOP, end: at });
  }

  private loopSegment(row: Row, event: MouseEvent): void {
    const time = this.axis.timeAt(event.clientX);
    const found = row.track.activity?.segments.find(([start, end]) => start <= time && time < end);
    if (found !== undefined) this.setLoop({ start: found[0], end: found[1] });
  }

  private zoom(direction: number): void {
    this.axis.zoomBy(direction);
    this.axis.follow();
  }

  private toggleSpectrograms(): void {
    const able = this.rows.filter((row) => row.hasSpectrogram);
    const on = able.some((row) => !row.showsSpectrogram);
    for (const row of able) row.showSpectrogram(on);
  }

  private shortcuts(): Shortcut[] {
    const { mix } = this;
    const stems = [...mix.stems.keys()];
    const step = (event: KeyboardEvent): number => (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 1 : 5);
    const all: (Shortcut | false)[] = [
      { keys: ["Space"], tells: "Play or pause", matches: key(" "), run: () => this.toggle() },
      {
        keys: ["←", "→"],
        tells: "Five seconds back or on; with Shift one",
        matches: key("ArrowLeft", "ArrowRight"),
        run: (event) => this.seek(this.position() + step(event)),
      },
      {
        keys: ["Home", "End"],
        tells: "To the start or the end",
        matches: key("Home", "End"),
        run: (event) => this.seek(event.key === "Home" ? 0 : this.song.duration),
      },
      {
        keys: ["I", "O"],
        tells: "The loop begins or ends here",
        matches: key("i", "o"),
        run: (event) => this.loopEnd(event.key.toLowerCase() === "i" ? "start" : "end"),
      },
      { keys: ["L"], tells: "Loop on or off", matches: key("l"), run: () => this.toggleLoop() },
      stems.length > 0 && {
        keys: stems.length > 1 ? [`1 … ${Math.min(9, stems.length)}`] : ["1"],
        tells: "Mute a stem; with Shift solo",
        matches: (event) => digit(event) >= 1 && digit(event) <= stems.length,
        run: (event) => this.toggleStem(stems[digit(event) - 1]!, event.shiftKey),
      },
      stems.length > 0 && {
        keys: ["0"],
        tells: "The original song, or its stems",
        matches: (event) => digit(event) === 0,
        run: () => (mix.original = !mix.original),
      },
      mix.vocals !== null && {
        keys: ["K"],
        tells: "Karaoke",
        matches: key("k"),
        run: () => (mix.karaoke = !mix.karaoke),
      },
      mix.gated && {
        keys: ["V"],
        tells: "Instrumental only where there are vocals",
        matches: key("v"),
        run: () => (mix.instrumentalWhereSung = !mix.instrumentalWhereSung),
      },
      stems.length > 0 && { keys: ["R"], tells: "Reset the mix", matches: key("r"), run: () => mix.reset() },
      {
        keys: ["Shift ↑", "Shift ↓"],
        tells: "Master volume",
        matches: (event) => event.shiftKey && key("ArrowUp", "ArrowDown")(event),
        run: (event) => (mix.master += event.key === "ArrowUp" ? 2 : -2),
      },
      {
        keys: ["+", "−"],
        tells: "Zoom",
        matches: key("+", "=", "-"),
        run: (event) => this.zoom(event.key === "-" ? -1 : 1),
      },
      this.rows.some((row) => row.hasSpectrogram) && {
        keys: ["S"],
        tells: "Spectrograms",
        matches: key("s"),
        run: () => this.toggleSpectrograms(),
      },
      { keys: ["?"], tells: "This list", matches: key("?"), run: () => this.help.showModal() },
    ];
    return all.filter((shortcut) => shortcut !== false);
  }

  private toggleStem(name: string, solo: boolean): void {
    const stem = this.mix.stems.get(name)!;
    this.mix.set(name, solo ? { solo: !stem.solo } : { muted: !stem.muted });
  }

  // ---- what is shown

  private mixed(): void {
    for (const track of this.song.tracks) this.engine.setLoudness(track.name, this.mix.loudness(track));
    this.engine.setMaster(this.mix.masterGain);
    this.dispatchEvent(new Event("change"));
  }

  private showState(): void {
    const { playing, waiting, problems } = this.engine;
    this.transport.showPlaying(playing, waiting);
    this.body.classList.toggle("is-playing", playing);
    const text = problems.map((problem) => `“${problem.track}” cannot be heard: ${problem.text}.`).join(" ");
    if (this.message.textContent !== text) this.message.textContent = text;
    cancelAnimationFrame(this.frame);
    if (playing) this.frame = requestAnimationFrame(() => this.animate());
    else this.showPosition();
  }

  private animate(): void {
    this.showPosition();
    this.axis.follow();
    for (const row of this.rows) row.showLevel(this.level(row.track.name));
    this.frame = requestAnimationFrame(() => this.animate());
  }

  private showPosition(): void {
    const seconds = this.position();
    this.axis.show(seconds);
    this.ruler.showPosition(seconds);
    this.transport.showPosition(seconds);
    if (!this.engine.playing) for (const row of this.rows) row.showLevel(0);
  }

  private resized(width: number): void {
    this.ruler.resize(width);
    this.transport.showZoom(this.axis.zoom <= 1, this.axis.zoom >= this.axis.highest);
  }
}

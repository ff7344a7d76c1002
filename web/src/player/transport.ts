/** The bar above the tracks: play, time, loop, what is heard, volume, zoom. */

import { clock } from "./clock";
import { element, icon, press, svg } from "./dom";
import type { Mix } from "./mix";
import { showVolume, volumeSlider } from "./row";

const LOOP = "M17 3l3 3-3 3M4 11V9a3 3 0 0 1 3-3h13M7 21l-3-3 3-3M20 13v2a3 3 0 0 1-3 3H4";
const CLOSE = "M7 7l10 10M17 7L7 17";
const MINUS = "M6 12h12";
const PLUS = "M6 12h12M12 6v12";
const SPEAKER = "M4 9.5v5h3.5L12 18V6L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a7.8 7.8 0 0 1 0 11";

export interface Actions {
  toggle(): void;
  loop(): void;
  zoom(direction: number): void;
  help(): void;
}

export class Transport {
  readonly root: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly now = element("span.now", {}, "0:00");
  private readonly loop: HTMLButtonElement;
  private readonly loopText = element("span.text");
  private readonly zoomOut: HTMLButtonElement;
  private readonly zoomIn: HTMLButtonElement;
  private readonly update: () => void;
  private digits: number;

  constructor(
    duration: number,
    private readonly mix: Mix,
    actions: Actions,
  ) {
    this.digits = duration < 10 ? 1 : 0;
    const button = (name: string, drawing: string, run: () => void): HTMLButtonElement =>
      element("button.plain", { type: "button", "aria-label": name, title: name, onclick: run }, icon(drawing));
    this.play = element("button.play", { type: "button", onclick: () => actions.toggle() }, playIcon());
    this.loop = element(
      "button.chip.loop",
      { type: "button", title: "Loop (L)", onclick: () => actions.loop() },
      icon(LOOP),
      this.loopText,
      icon(CLOSE),
    );
    this.zoomOut = button("Zoom out", MINUS, () => actions.zoom(-1));
    this.zoomIn = button("Zoom in", PLUS, () => actions.zoom(1));
    const total = element("span.total", {}, clock(duration, this.digits));
    const [presets, showPresets] = this.presets();
    const [volume, showMaster] = this.volume();
    this.root = element(
      "div.transport",
      { role: "group", "aria-label": "Playback" },
      this.play,
      element("p.clock", {}, this.now, total),
      this.loop,
      presets,
      element("div.view", {}, volume, element("div.zoom", {}, this.zoomOut, this.zoomIn), this.help(actions)),
    );
    this.update = () => {
      showPresets();
      showMaster();
    };
    mix.addEventListener("change", this.update);
    this.update();
    this.showPlaying(false, false);
    this.showLoop("");
  }

  private help(actions: Actions): HTMLButtonElement {
    const name = "Keyboard shortcuts";
    const properties = { type: "button", "aria-label": name, title: `${name} (?)`, onclick: () => actions.help() };
    return element("button.plain.help", properties, "?");
  }

  private presets(): [HTMLElement, () => void] {
    const { mix } = this;
    const chip = (text: string, title: string, run: () => void): HTMLButtonElement =>
      element("button.chip", { type: "button", title, onclick: run }, text);
    const karaoke = chip("Karaoke", "The song without its vocals (K)", () => (mix.karaoke = !mix.karaoke));
    const sung = chip(
      "Instrumental only where there are vocals",
      "Takes the vocals out while they sing, and leaves the rest of the song as it is (V)",
      () => (mix.instrumentalWhereSung = !mix.instrumentalWhereSung),
    );
    const reset = chip("Reset mix", "Every stem as loud as in the song (R)", () => mix.reset());
    reset.classList.add("quiet");
    const shown = [...(mix.vocals === null ? [] : [karaoke]), ...(mix.gated ? [sung] : []), reset];
    const update = (): void => {
      press(karaoke, mix.karaoke);
      press(sung, mix.instrumentalWhereSung);
      reset.disabled = mix.untouched;
    };
    const hidden = mix.stems.size === 0;
    return [element("div.presets", { role: "group", "aria-label": "Mix", hidden }, ...shown), update];
  }

  private volume(): [HTMLElement, () => void] {
    const slider = volumeSlider("Master volume", 0, (value) => (this.mix.master = value));
    const shown = element("output", { "aria-hidden": "true" });
    const label = element("div.volume.master", { title: "Master volume (Shift ↑ ↓)" }, icon(SPEAKER), slider, shown);
    return [label, () => showVolume(slider, shown, this.mix.master)];
  }

  showPlaying(playing: boolean, waiting: boolean): void {
    this.play.classList.toggle("playing", playing);
    this.play.classList.toggle("waiting", waiting);
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.play.title = playing ? "Pause (Space)" : "Play (Space)";
  }

  showPosition(seconds: number): void {
    const text = clock(seconds, this.digits);
    if (this.now.textContent !== text) this.now.textContent = text;
  }

  /** text: the loop's ends, empty without one. */
  showLoop(text: string): void {
    press(this.loop, text !== "");
    this.loopText.textContent = text === "" ? "Loop" : text;
    this.loop.setAttribute("aria-label", text === "" ? "Loop" : `Loop ${text}`);
  }

  showZoom(lowest: boolean, highest: boolean): void {
    this.zoomOut.disabled = lowest;
    this.zoomIn.disabled = highest;
  }

  destroy(): void {
    this.mix.removeEventListener("change", this.update);
  }
}

function playIcon(): SVGSVGElement {
  const drawing = icon("M8 5.2v13.6L19 12z", true);
  drawing.firstElementChild!.classList.add("when-paused");
  drawing.append(svg("path", { class: "when-playing", d: "M7 5.5h3.6v13H7zM13.4 5.5H17v13h-3.6z" }));
  return drawing;
}

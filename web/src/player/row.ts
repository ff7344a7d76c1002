/** One track: its name and controls, and what it is over time. */

import type WaveSurfer from "wavesurfer.js";
import { element, icon, press } from "./dom";
import { drawCuts, drawLane } from "./lane";
import { decibels, LOUDEST, QUIETEST, type Mix } from "./mix";
import type { Multitrack, Track } from "./multitrack";
import { drawWaveform } from "./waveform";

const SPECTRUM = "M4 20V9M9 20V4M14 20v-8M19 20V7";

export interface RowOptions {
  song: Multitrack;
  mix: Mix;
  scale: number;
  loudest: number;
  cspNonce: string | undefined;
}

export class Row {
  readonly root: HTMLElement;
  readonly axis: HTMLElement;
  private readonly wave: WaveSurfer;
  private readonly meter: HTMLElement;
  private readonly update: () => void;
  private spectrogram: HTMLElement | null = null;
  private spectrumButton: HTMLButtonElement | null = null;

  constructor(
    readonly track: Track,
    private readonly options: RowOptions,
  ) {
    const { mix, song, scale, cspNonce } = options;
    const share = song.duration > 0 ? Math.min(1, track.duration / song.duration) : 1;
    const drawing = element("div.wave", { role: "img", "aria-label": `Waveform of ${track.name}` });
    const content = element("div.content", {}, drawing);
    content.style.width = `${share * 100}%`;
    if (track.activity !== null) content.append(drawCuts(track, track.activity), drawLane(track, track.activity));
    this.axis = element("div.axis", {}, content);
    this.meter = element("div.meter", { "aria-hidden": "true" }, element("i"));
    const [controls, update] = track.kind === "stem" ? this.stemControls() : this.mixtureControls();
    const title = element("h2", {}, element("span.name", {}, track.name));
    const head = element("div.head", {}, title, ...controls, this.meter);
    if (track.spectrogram !== null) title.append(this.spectrumToggle());
    this.root = element("section.row.track", { "aria-label": track.name }, head, this.axis);
    Object.assign(this.root.dataset, { track: track.name, kind: track.kind });
    this.root.style.setProperty("--stem", `var(--stem-${track.colour})`);
    this.wave = drawWaveform(drawing, track, scale, cspNonce);
    this.update = () => {
      update();
      this.root.classList.toggle("silent", mix.loudness(track).gain === 0);
      this.root.classList.toggle("partly", mix.onlyActive() === track.name);
    };
    mix.addEventListener("change", this.update);
    this.update();
  }

  private stemControls(): [HTMLElement[], () => void] {
    const { mix, loudest } = this.options;
    const { name } = this.track;
    const stem = mix.stems.get(name)!;
    const toggle = (kind: "solo" | "muted", word: string): HTMLButtonElement =>
      element(
        "button.toggle",
        { type: "button", "aria-label": `${word} ${name}`, onclick: () => mix.set(name, { [kind]: !stem[kind] }) },
        word,
      );
    const solo = toggle("solo", "Solo");
    const mute = toggle("muted", "Mute");
    solo.classList.add("solo");
    mute.classList.add("mute");
    const highest = loudest > 1 ? LOUDEST : 0;
    const volume = volumeSlider(`Volume of ${name}`, highest, (value) => mix.set(name, { volume: value }));
    const shown = element("output", { "aria-hidden": "true" });
    const update = (): void => {
      press(solo, stem.solo);
      press(mute, stem.muted);
      showVolume(volume, shown, stem.volume);
    };
    const buttons = element("div.buttons", {}, solo, mute);
    return [[buttons, element("div.volume", {}, volume, shown)], update];
  }

  private mixtureControls(): [HTMLElement[], () => void] {
    const { mix } = this.options;
    const listen = element(
      "button.toggle.original",
      {
        type: "button",
        "aria-label": "Listen to the original song",
        onclick: () => {
          mix.original = !mix.original;
        },
      },
      "Listen",
    );
    return [[element("div.buttons", {}, listen)], () => press(listen, mix.original)];
  }

  private spectrumToggle(): HTMLButtonElement {
    const toggle = element(
      "button.spectrum",
      {
        type: "button",
        "aria-label": `Spectrogram of ${this.track.name}`,
        title: "Spectrogram",
        "aria-pressed": "false",
        onclick: () => this.showSpectrogram(this.spectrogram === null),
      },
      icon(SPECTRUM),
    );
    this.spectrumButton = toggle;
    return toggle;
  }

  get hasSpectrogram(): boolean {
    return this.track.spectrogram !== null;
  }

  get showsSpectrogram(): boolean {
    return this.spectrogram !== null;
  }

  showSpectrogram(on: boolean): void {
    const { spectrogram, name } = this.track;
    if (spectrogram === null || on === this.showsSpectrogram) return;
    press(this.spectrumButton!, on);
    if (!on) {
      this.spectrogram?.remove();
      this.spectrogram = null;
      return;
    }
    const { url, low_hz, high_hz } = spectrogram;
    const image = element("img", { src: url, alt: `Spectrogram of ${name}`, draggable: "false", decoding: "async" });
    const picture = element("div.spectrogram", {}, image, element("span.high", {}, hertz(high_hz)), element("span.low", {}, hertz(low_hz)));
    image.addEventListener("error", () => image.replaceWith(element("p", {}, "The spectrogram is not there.")));
    this.axis.firstElementChild!.append(picture);
    this.spectrogram = picture;
  }

  /** Colours of a waveform are those of the page when it was drawn. */
  redraw(): void {
    this.wave.setOptions({});
  }

  /** level: RMS, 0..1. */
  showLevel(level: number): void {
    const share = level > 0 ? Math.max(0, 1 + (20 * Math.log10(level)) / 54) : 0;
    (this.meter.firstElementChild as HTMLElement).style.transform = `scaleY(${share.toFixed(3)})`;
  }

  destroy(): void {
    this.options.mix.removeEventListener("change", this.update);
    this.wave.destroy();
  }
}

/** A slider in dB from silence; a double click brings it back to 0 dB. */
export function volumeSlider(label: string, highest: number, set: (volume: number) => void): HTMLInputElement {
  const slider = element("input", { type: "range", min: QUIETEST, max: highest, step: 0.5, "aria-label": label });
  slider.addEventListener("input", () => set(slider.valueAsNumber));
  slider.addEventListener("dblclick", () => set(0));
  return slider;
}

export function showVolume(slider: HTMLInputElement, shown: HTMLElement, volume: number): void {
  slider.valueAsNumber = volume;
  const part = (volume - QUIETEST) / (Number(slider.max) - QUIETEST);
  slider.style.setProperty("--part", part.toFixed(4));
  slider.setAttribute("aria-valuetext", volume <= QUIETEST ? "silent" : decibels(volume));
  shown.textContent = decibels(volume);
}

const hertz = (value: number): string => (value >= 1000 ? `${+(value / 1000).toFixed(1)} kHz` : `${Math.round(value)} Hz`);

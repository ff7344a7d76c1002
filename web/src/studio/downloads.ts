/** Everything that can be taken from a song: stems, archives, the mix one hears, the activity. */

import type { Multitrack, Track } from "../player/multitrack";
import type { Player } from "../player/player";
import { Refusal, awaitDownload, path } from "./api";
import { icon, make, write } from "./dom";
import { tell } from "./news";

interface Format {
  label: string;
  extension: string;
  bits?: string;
}

const FORMATS: Format[] = [
  { label: "WAV, 16 bit", extension: "wav", bits: "16" },
  { label: "WAV, 24 bit", extension: "wav", bits: "24" },
  { label: "WAV, 32 bit float", extension: "wav", bits: "32" },
  { label: "FLAC, 16 bit", extension: "flac", bits: "16" },
  { label: "FLAC, 24 bit", extension: "flac", bits: "24" },
  { label: "MP3, 320 kbit/s", extension: "mp3" },
  { label: "Opus, 192 kbit/s", extension: "opus" },
];

const LABELS = [
  { label: "Audacity labels", extension: "txt" },
  { label: "LAB", extension: "lab" },
  { label: "CSV", extension: "csv" },
  { label: "JAMS", extension: "jams" },
];

/** The format that was chosen last, for the next song too. */
let chosen = 0;

export class Downloads {
  readonly element = make("section", { class: "downloads", "aria-labelledby": "downloads-title" });
  private readonly format: HTMLSelectElement;
  private readonly links: { link: HTMLAnchorElement; address: () => string }[] = [];
  private readonly mix = make("p", { class: "mix", id: "mix" });
  private readonly meters = new Map<string, Meter>();
  private readonly stems: Track[];

  constructor(
    private readonly id: string,
    private readonly song: Multitrack,
    private readonly player: Player,
  ) {
    this.stems = song.tracks.filter((track) => track.kind === "stem");
    this.format = formatSelect(() => this.update());
    this.element.append(
      make("h2", { id: "downloads-title" }, "Take it with you"),
      this.stemsCard(),
      this.mixCard(),
      this.moreCard(),
    );
    this.update();
  }

  /** Addresses and words follow the player's volumes and the format. */
  update(): void {
    for (const { link, address } of this.links) link.href = address();
    const gains = this.player.gains();
    const silent = this.stems.every((stem) => (gains[stem.name] ?? 1) === 0);
    write(this.mix, this.mixInWords(silent));
    for (const [stem, meter] of this.meters) meter.show(gains[stem] ?? 1);
    const mix = this.element.querySelector<HTMLAnchorElement>(".mix-link");
    if (silent) mix?.removeAttribute("href");
    mix?.setAttribute("aria-disabled", String(silent));
  }

  private get kind(): Format {
    return FORMATS[Number(this.format.value)] ?? FORMATS[0]!;
  }

  private stemsCard(): HTMLElement {
    const stems = this.stems.map((stem) => {
      const address = (): string =>
        this.below(`/stems/${encodeURIComponent(stem.name)}.${this.kind.extension}`, this.bits());
      const dot = make("span", { class: "dot", "data-colour": String(stem.colour) });
      return make("li", {}, this.link(address, "stem-link", dot, stem.name, icon("download")));
    });
    const zip = (): string =>
      this.below("/stems.zip", { format: this.kind.extension, ...this.bits() });
    return make(
      "div",
      { class: "card" },
      make("h3", {}, "Stems"),
      make("label", { class: "field" }, make("span", {}, "Format"), this.format),
      make("ul", { class: "stem-links" }, ...stems),
      make("p", { class: "line" }, this.link(zip, "button", icon("download"), "All stems, zipped")),
    );
  }

  private mixCard(): HTMLElement {
    const remix = (): string => {
      const gains = Object.entries(this.player.gains());
      const query: Record<string, string> = {
        ...this.bits(),
        gains: gains.map(([stem, gain]) => `${stem}:${Number(gain.toFixed(4))}`).join(","),
      };
      const only = this.player.onlyActive();
      if (only !== null) query.only_active = only;
      return this.below(`/remix.${this.kind.extension}`, query);
    };
    return make(
      "div",
      { class: "card" },
      make("h3", {}, "Your mix"),
      this.mix,
      make("ul", { class: "gains" }, ...this.stems.map((stem) => this.meter(stem))),
      make(
        "p",
        { class: "line" },
        this.link(remix, "button mix-link", icon("download"), "This mix"),
      ),
    );
  }

  private meter(stem: Track): HTMLElement {
    const meter = new Meter(stem);
    this.meters.set(stem.name, meter);
    return meter.element;
  }

  private moreCard(): HTMLElement {
    const labels = LABELS.map(({ label, extension }) =>
      make("li", {}, this.link(() => this.below(`/activity.${extension}`), "button", label)),
    );
    const files: [label: string, below: string][] = [["Report page", "/report.html"]];
    if (this.fitsStemFile) files.unshift([".stem.mp4 for DJs", "/song.stem.mp4"]);
    const active = this.stems.some((stem) => stem.activity !== null);
    return make(
      "div",
      { class: "card" },
      active ? make("h3", {}, "When each stem plays") : null,
      active ? make("ul", { class: "line" }, ...labels) : null,
      make("h3", {}, "Everything in one file"),
      make(
        "ul",
        { class: "line" },
        ...files.map(([label, below]) =>
          make("li", {}, this.link(() => this.below(below), "button", label)),
        ),
      ),
    );
  }

  private mixInWords(silent: boolean): string {
    const only = this.player.onlyActive();
    if (silent) return "Every stem is muted.";
    return only === null
      ? "With the volumes that the player has now:"
      : `With these volumes, that of ${only} only while it plays:`;
  }

  /** A .stem.mp4 holds these four, neither fewer nor others, with one or two channels. */
  private get fitsStemFile(): boolean {
    const names = this.stems.map((stem) => stem.name).sort();
    return names.join() === "bass,drums,other,vocals" && this.song.channels <= 2;
  }

  private link(
    address: () => string,
    kind: string,
    ...content: (Node | string)[]
  ): HTMLAnchorElement {
    const link = make("a", { class: kind, download: "" }, ...content);
    link.addEventListener("click", () => void follow(link));
    this.links.push({ link, address });
    return link;
  }

  private below(part: string, query: Record<string, string> = {}): string {
    return path(this.id, part, query);
  }

  private bits(): Record<string, string> {
    return this.kind.bits === undefined ? {} : { bits: this.kind.bits };
  }
}

/** Show while a download is being made, and say why it was not. */
async function follow(link: HTMLAnchorElement): Promise<void> {
  if (!link.hasAttribute("href")) return;
  link.setAttribute("aria-busy", "true");
  try {
    await awaitDownload(link.href);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    tell(error.message, true);
  } finally {
    link.removeAttribute("aria-busy");
  }
}

function formatSelect(changed: () => void): HTMLSelectElement {
  const select = make(
    "select",
    {},
    ...FORMATS.map((format, index) =>
      make("option", { value: String(index), selected: index === chosen }, format.label),
    ),
  );
  select.addEventListener("change", () => {
    chosen = select.selectedIndex;
    changed();
  });
  return select;
}

/** A stem's share in the mix; louder than in the song is told by the figure alone. */
class Meter {
  readonly element: HTMLElement;
  private readonly bar = make("span", { class: "gain-bar" });
  private readonly figure = make("span", { class: "gain-figure" });

  constructor(stem: Track) {
    const name = make("span", { class: "gain-name" }, stem.name);
    const scale = make("span", { class: "gain-scale", "aria-hidden": "true" }, this.bar);
    const colour = String(stem.colour);
    this.element = make("li", { class: "gain", "data-colour": colour }, name, scale, this.figure);
  }

  show(gain: number): void {
    this.bar.style.width = `${Math.min(1, gain) * 100}%`;
    write(this.figure, gain === 0 ? "muted" : `${Math.round(gain * 100)} %`);
    this.element.classList.toggle("muted", gain === 0);
  }
}

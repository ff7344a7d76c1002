/** Everything that can be taken from a song: stems, archives, the mix one hears, the activity. */

import type { Multitrack, Track } from "../player/multitrack";
import type { Player } from "../player/player";
import { path } from "./api";
import { icon, make, write } from "./dom";
import { list } from "./words";

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
  private readonly stems: Track[];

  constructor(
    private readonly id: string,
    song: Multitrack,
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
    write(this.mix, silent ? "Every stem is muted." : this.mixInWords(gains));
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
      make("p", { class: "row" }, this.link(zip, "button", icon("download"), "All stems, zipped")),
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
      make("p", { class: "hint" }, "With the volumes that the player has now, in the same format."),
      make(
        "p",
        { class: "row" },
        this.link(remix, "button mix-link", icon("download"), "Mix"),
      ),
    );
  }

  private moreCard(): HTMLElement {
    const labels = LABELS.map(({ label, extension }) =>
      make("li", {}, this.link(() => this.below(`/activity.${extension}`), "button", label)),
    );
    const active = this.stems.some((stem) => stem.activity !== null);
    return make(
      "div",
      { class: "card" },
      active ? make("h3", {}, "When each stem plays") : null,
      active ? make("ul", { class: "row" }, ...labels) : null,
      make("h3", {}, "Everything in one file"),
      make(
        "ul",
        { class: "row" },
        make("li", {}, this.link(() => this.below("/song.stem.mp4"), "button", ".stem.mp4 for DJs")),
        make("li", {}, this.link(() => this.below("/report.html"), "button", "Report page")),
      ),
    );
  }

  private mixInWords(gains: Record<string, number>): string {
    const named = (test: (gain: number) => boolean): string[] =>
      this.stems.map((stem) => stem.name).filter((name) => test(gains[name] ?? 1));
    const parts = [
      ...named((gain) => gain !== 1 && gain !== 0).map((name) => `${name} ${level(gains[name]!)}`),
    ];
    const muted = named((gain) => gain === 0);
    if (muted.length > 0) parts.push(`without ${list(muted)}`);
    const text = parts.length === 0 ? "All stems as in the song" : parts.join(", ");
    const only = this.player.onlyActive();
    return only === null ? `${upper(text)}.` : `${upper(text)}, only where ${only} plays.`;
  }

  private link(
    address: () => string,
    kind: string,
    ...content: (Node | string)[]
  ): HTMLAnchorElement {
    const link = make("a", { class: kind, download: "" }, ...content);
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

function level(gain: number): string {
  return `at ${Math.round(gain * 100)} %`;
}

function upper(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What is wanted of the next songs: model, stems, gate. */

import { type Model, type Order, listModels } from "./api";
import { make, part, write } from "./dom";
import { list } from "./words";

export class Choices {
  private models: Model[] = [];
  private loading: Promise<void> | null = null;
  private readonly model = part<HTMLSelectElement>("model");
  private readonly gate = part<HTMLSelectElement>("gate");
  private readonly stems = part("stems");
  private readonly wanted = new Map<string, HTMLInputElement>();

  constructor() {
    this.model.addEventListener("change", () => this.show());
  }

  /** Ask the server which models there are; what was chosen stays chosen. */
  load(): Promise<void> {
    this.loading ??= this.read().catch((error: unknown) => {
      this.loading = null;
      throw error;
    });
    return this.loading;
  }

  private async read(): Promise<void> {
    this.models = await listModels();
    this.model.replaceChildren(
      ...this.models.map((one) =>
        make("option", { value: one.name, selected: one.default }, one.name),
      ),
    );
    this.model.disabled = false;
    this.show();
  }

  /** The order, or null where no stem is chosen, which the page then says. A song need not wait
   * until the models are known: the server has a default. */
  order(): Order | null {
    const stems = [...this.wanted].filter(([, box]) => box.checked).map(([stem]) => stem);
    if (this.wanted.size > 0 && stems.length === 0) {
      part("no-stems").hidden = false;
      this.wanted.values().next().value?.focus();
      return null;
    }
    const all = stems.length === this.wanted.size;
    return { model: this.model.value, stems: all ? [] : stems, gate: this.gate.value };
  }

  private get chosen(): Model | undefined {
    return this.models.find((one) => one.name === this.model.value);
  }

  private show(): void {
    const model = this.chosen;
    if (model === undefined) return;
    const unwanted = new Set([...this.wanted].filter(([, box]) => !box.checked).map(([s]) => s));
    this.wanted.clear();
    this.stems.replaceChildren(
      ...[...colours(model.sources)].map(([stem, colour]) =>
        this.choice(stem, colour, !unwanted.has(stem)),
      ),
    );
    write(part("model-description"), model.description);
    const gated = model.activity_sources.length > 0;
    this.gate.disabled = !gated;
    if (!gated) this.gate.value = "off";
    write(
      part("gate-description"),
      gated
        ? `Takes away what is left of a stem where it does not play; the model tells when ${list(model.activity_sources)} play.`
        : "This model does not tell when stems play.",
    );
  }

  private choice(stem: string, colour: number, checked: boolean): HTMLElement {
    const box = make("input", { type: "checkbox", name: "stems", value: stem, checked });
    box.addEventListener("change", () => {
      if (box.checked) part("no-stems").hidden = true;
    });
    this.wanted.set(stem, box);
    const dot = make("span", { class: "dot", "data-colour": String(colour) });
    return make("label", { class: "stem-choice" }, box, make("span", {}, dot, stem));
  }
}

const USUAL: Record<string, number> = { vocals: 0, drums: 1, bass: 2, other: 3, accompaniment: 3 };
const PALETTE = [4, 5, 6, 7, 0, 1, 2, 3];

/** The colours that stems will have in the player: the usual ones their own, the rest by order. */
function colours(stems: string[]): Map<string, number> {
  const chosen = new Map<string, number>();
  for (const stem of stems) {
    const taken = new Set(chosen.values());
    const free = PALETTE.find((colour) => !taken.has(colour)) ?? PALETTE[0]!;
    chosen.set(stem, USUAL[stem] ?? free);
  }
  return chosen;
}

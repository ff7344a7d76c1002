/** The time axis: marks, the position as a slider, and the loop as a region of wavesurfer.js. */

import WaveSurfer from "wavesurfer.js";
import RegionsPlugin, { type Region } from "wavesurfer.js/plugins/regions";
import { clock, spoken, ticks } from "./clock";
import { element } from "./dom";
import type { Loop } from "./engine";

export interface RulerEvents {
  loop(loop: Loop | null): void;
}

export class Ruler {
  readonly axis: HTMLElement;
  private readonly marks: HTMLElement;
  private readonly slider: HTMLElement;
  private readonly surface: WaveSurfer;
  private readonly regions: InstanceType<typeof RegionsPlugin>;
  private region: Region | null = null;
  private showing = false;
  private width = 0;
  private said = -1;
  /** Where a hand went down on the axis, and where it is; seconds. */
  private hand: [number, number] = [0, 0];
  private readonly end = new AbortController();

  constructor(
    private readonly duration: number,
    private readonly events: RulerEvents,
    cspNonce: string | undefined,
  ) {
    this.marks = element("div.marks", { "aria-hidden": "true" });
    this.slider = element("div.position", {
      role: "slider",
      tabindex: 0,
      "aria-label": "Position",
      "aria-valuemin": 0,
      "aria-valuemax": duration.toFixed(2),
    });
    const regions = element("div.regions");
    this.axis = element("div.axis.ruler", {}, this.marks, regions, this.slider);
    this.surface = WaveSurfer.create({
      container: regions,
      height: "auto",
      duration: Math.max(duration, 1e-3),
      peaks: [[0, 0]],
      interact: false,
      cursorWidth: 0,
      hideScrollbar: true,
      renderFunction: () => undefined, // the ruler draws its own marks
      ...(cspNonce === undefined ? {} : { cspNonce }),
    });
    this.regions = this.surface.registerPlugin(RegionsPlugin.create());
    this.regions.enableDragSelection({ color: "transparent" }, 6);
    this.regions.on("region-created", (region) => this.created(region));
    this.regions.on("region-updated", (region) => this.drawn(region));
    this.watchHand();
  }

  private watchHand(): void {
    const { signal } = this.end;
    const at = ({ clientX }: PointerEvent): number => {
      const { left, width } = this.axis.getBoundingClientRect();
      return Math.max(0, Math.min(1, (clientX - left) / Math.max(1, width))) * this.duration;
    };
    this.axis.addEventListener("pointerdown", (event) => (this.hand = [at(event), at(event)]), { capture: true });
    const moved = (event: PointerEvent): void => {
      this.hand = [this.hand[0], at(event)];
    };
    window.addEventListener("pointerup", moved, { capture: true, signal });
  }

  /** A new region; one drawn by hand is a few pixels longer than the hand went. */
  private created(region: Region): void {
    if (this.showing) return;
    const [from, to] = this.hand;
    if (from !== to) region.setOptions({ start: Math.min(from, to), end: Math.max(from, to) });
    this.drawn(region);
  }

  /** A region that a hand made or moved. */
  private drawn(region: Region): void {
    if (this.showing) return;
    if (this.region !== null && this.region !== region) this.region.remove();
    this.region = region;
    this.events.loop({ start: region.start, end: region.end });
  }

  /** Shows a loop that something else made. */
  showLoop(loop: Loop | null): void {
    this.showing = true;
    if (loop === null) {
      this.region?.remove();
      this.region = null;
    } else if (this.region === null) {
      this.region = this.regions.addRegion({ ...loop, color: "transparent" });
    } else {
      this.region.setOptions({ start: loop.start, end: loop.end });
    }
    this.showing = false;
  }

  showPosition(seconds: number): void {
    const whole = Math.floor(seconds);
    if (whole === this.said) return; // once a second is enough for ears
    this.said = whole;
    this.slider.setAttribute("aria-valuenow", seconds.toFixed(2));
    this.slider.setAttribute("aria-valuetext", `${spoken(seconds)} of ${spoken(this.duration)}`);
  }

  /** Marks for an axis of so many pixels. */
  resize(width: number): void {
    if (Math.abs(width - this.width) < 1) return;
    this.width = width;
    this.marks.replaceChildren(
      ...ticks(this.duration, width).map(({ time, label }) => {
        const mark = element(label === "" ? "i" : "b", {}, label);
        mark.style.left = `${(time / this.duration) * 100}%`;
        // the last label would stick out of the page
        if (label !== "" && (1 - time / this.duration) * width < 34) mark.classList.add("last");
        return mark;
      }),
    );
  }

  get loopText(): string {
    return this.region === null ? "" : `${clock(this.region.start, 1)} – ${clock(this.region.end, 1)}`;
  }

  destroy(): void {
    this.end.abort();
    this.surface.destroy();
  }
}

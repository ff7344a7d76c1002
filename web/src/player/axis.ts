/** The time axis that all rows share: how wide it is, what of it is seen, and where hands touch it. */

import { element } from "./dom";
import type { Loop } from "./engine";

/** Pixels of the screen: wider drawings cost memory and show no more than the peaks hold. */
const WIDEST = 12000;
const WIDE = 4000;
const STEP = 1.6;

export interface AxisEvents {
  seek(seconds: number): void;
  resized(width: number): void;
}

export class TimeAxis {
  private zoomed = 1;
  private width = 0;
  private readonly heads = element("div.head-width", { "aria-hidden": "true" });
  private readonly cursors: HTMLElement[];
  private readonly shades: HTMLElement[];
  private readonly observer: ResizeObserver;
  private at = 0;
  private loop: Loop | null = null;
  private scrubbing = false;

  /**
   * scroller: what scrolls when zoomed. timeline: its content, heads and axes. axes: those of the
   * rows, the ruler first.
   */
  constructor(
    private readonly scroller: HTMLElement,
    private readonly timeline: HTMLElement,
    private readonly axes: HTMLElement[],
    private readonly duration: number,
    private readonly events: AxisEvents,
  ) {
    this.shades = axes.map(() => element("div.loop-shade", { "aria-hidden": "true", hidden: true }));
    this.cursors = axes.map(() => element("div.cursor", { "aria-hidden": "true" }));
    axes.forEach((axis, index) => axis.append(this.shades[index]!, this.cursors[index]!));
    scroller.append(this.heads);
    axes.forEach((axis, index) => (index === 0 ? this.clickable(axis) : this.touchable(axis)));
    scroller.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(scroller);
    this.observer.observe(axes[0]!);
  }

  get zoom(): number {
    return this.zoomed;
  }

  get highest(): number {
    const widest = Math.max(WIDE, WIDEST / window.devicePixelRatio);
    return Math.max(1, widest / Math.max(1, this.visible()));
  }

  /** Pixels of the axis that are seen. */
  private visible(): number {
    return this.scroller.clientWidth - this.heads.clientWidth;
  }

  private measure(): void {
    this.width = this.axes[0]!.getBoundingClientRect().width;
    this.show(this.at);
    this.events.resized(this.width);
  }

  zoomBy(direction: number): void {
    this.zoomTo(this.zoomed * STEP ** direction, this.at);
  }

  /** Keeps the time `fixed` where it is seen. */
  private zoomTo(zoom: number, fixed: number): void {
    const next = Math.max(1, Math.min(this.highest, zoom));
    const offset = this.pixels(fixed) - this.scroller.scrollLeft;
    this.zoomed = next < 1.05 ? 1 : next;
    this.timeline.style.setProperty("--zoom", String(this.zoomed));
    this.scroller.classList.toggle("zoomed", this.zoomed > 1);
    this.measure();
    const inside = Math.max(0, Math.min(this.visible(), offset));
    this.scroller.scrollLeft = this.zoomed > 1 ? this.pixels(fixed) - inside : 0;
  }

  private wheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoomTo(this.zoomed * Math.exp(-event.deltaY / 300), this.timeAt(event.clientX));
  }

  private pixels(time: number): number {
    return this.duration > 0 ? (time / this.duration) * this.width : 0;
  }

  timeAt(clientX: number): number {
    const { left, width } = this.axes[0]!.getBoundingClientRect();
    return width > 0 ? Math.max(0, Math.min(1, (clientX - left) / width)) * this.duration : 0;
  }

  // ---- seeking by hand

  private clickable(axis: HTMLElement): void {
    axis.addEventListener("click", (event) => this.events.seek(this.timeAt(event.clientX)));
  }

  /** A press seeks; a drag moves the cursor, and seeks where it ends. */
  private touchable(axis: HTMLElement): void {
    const pans = (event: PointerEvent): boolean => event.pointerType !== "mouse" && this.zoomed > 1;
    let dragged = false;
    axis.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || pans(event)) return;
      axis.setPointerCapture(event.pointerId);
      this.scrubbing = true;
      dragged = false;
      this.events.seek(this.timeAt(event.clientX));
      this.place(this.timeAt(event.clientX));
    });
    axis.addEventListener("pointermove", (event) => {
      if (!this.scrubbing) return;
      dragged = true;
      this.place(this.timeAt(event.clientX));
    });
    axis.addEventListener("pointerup", (event) => {
      if (!this.scrubbing) return;
      this.scrubbing = false;
      if (dragged) this.events.seek(this.timeAt(event.clientX));
    });
    axis.addEventListener("pointercancel", () => (this.scrubbing = false));
    axis.addEventListener("click", (event) => {
      if (event instanceof PointerEvent && pans(event)) this.events.seek(this.timeAt(event.clientX));
    });
  }

  // ---- what is shown on it

  /** Moves the cursor, unless a hand does. */
  show(seconds: number): void {
    if (!this.scrubbing) this.place(seconds);
  }

  private place(seconds: number): void {
    this.at = seconds;
    const moved = `translateX(${this.pixels(seconds).toFixed(1)}px)`;
    for (const cursor of this.cursors) cursor.style.transform = moved;
  }

  /** Turns the page when the cursor leaves it. */
  follow(): void {
    if (this.zoomed === 1 || this.scrubbing) return;
    const x = this.pixels(this.at) - this.scroller.scrollLeft;
    const seen = this.visible();
    if (x < 0 || x > seen) this.scroller.scrollLeft = this.pixels(this.at) - seen * 0.05;
  }

  showLoop(loop: Loop | null): void {
    this.loop = loop;
    for (const shade of this.shades) {
      shade.hidden = loop === null;
      if (this.loop === null || this.duration === 0) continue;
      shade.style.left = `${(this.loop.start / this.duration) * 100}%`;
      shade.style.width = `${((this.loop.end - this.loop.start) / this.duration) * 100}%`;
    }
  }

  destroy(): void {
    this.observer.disconnect();
  }
}

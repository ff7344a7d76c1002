import "../theme.css";
import "./player.css";
import type { Multitrack } from "./multitrack";

export interface PlayerOptions {
  /** For pages whose Content-Security-Policy wants a nonce on style elements. */
  cspNonce?: string;
}

export interface Player extends EventTarget {
  /** Linear gain of each stem after mute, solo and volume. */
  gains(): Record<string, number>;
  /** The stem where alone the song is changed, or null. */
  onlyActive(): string | null;
  position(): number;
  /** RMS of what a track's analyser hears now, 0..1. */
  level(track: string): number;
  destroy(): void;
}

export function createPlayer(root: HTMLElement, song: Multitrack, _options: PlayerOptions = {}): Player {
  root.textContent = song.title;
  return Object.assign(new EventTarget(), {
    gains: () => ({}),
    onlyActive: () => null,
    position: () => 0,
    level: () => 0,
    destroy: () => root.replaceChildren(),
  });
}

"use strict";
// Plays mixture and stems in step. Two players share one shape: prepare(), start(at), stop(),
// position(), hear(gains). What is heard, and where, is kept in `state` alone.
(() => {
  const root = document.documentElement;
  const main = document.querySelector("main");
  const duration = Number(main.dataset.duration);
  const tracks = [...document.querySelectorAll(".track")].map((element) => ({
    element,
    mixture: element.dataset.kind === "mixture",
    audio: element.querySelector("audio"),
    solo: element.querySelector(".solo"),
    mute: element.querySelector(".mute"),
  }));
  const stems = tracks.filter((track) => !track.mixture);
  const playButton = document.querySelector(".play");
  const seek = document.querySelector(".seek");
  const message = document.querySelector(".message");
  const now = document.querySelector(".now");
  const radios = [...document.querySelectorAll("input[name=hear]")];
  const state = { playing: false, position: 0, mixture: false, muted: new Set(), alone: new Set() };

  // Decoded into memory and started together: in step to the sample.
  class BufferPlayer {
    async prepare() {
      this.context = new AudioContext();
      this.lanes = await Promise.all(tracks.map(async ({ audio }) => {
        const text = atob(audio.src.slice(audio.src.indexOf(",") + 1));
        const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
        const buffer = await this.context.decodeAudioData(bytes.buffer);
        const gain = this.context.createGain();
        gain.connect(this.context.destination);
        return { buffer, gain, source: null };
      }));
    }
    async start(at) {
      await this.context.resume();
      this.began = this.context.currentTime + 0.03;
      this.from = at;
      for (const lane of this.lanes) {
        lane.source = this.context.createBufferSource();
        lane.source.buffer = lane.buffer;
        lane.source.connect(lane.gain);
        lane.source.start(this.began, Math.min(at, lane.buffer.duration));
      }
    }
    stop() {
      for (const lane of this.lanes) {
        lane.source?.stop();
        lane.source = null;
      }
    }
    position() {
      return this.from + Math.max(0, this.context.currentTime - this.began);
    }
    hear(gains) {
      // a short ramp, because a step clicks
      this.lanes.forEach(({ gain }, i) => gain.gain.setTargetAtTime(gains[i], this.context.currentTime, 0.012));
    }
  }

  // Streams, for songs too long to hold in memory: kept in step by nudging whoever strays.
  class StreamPlayer {
    async prepare() {
      await Promise.all(tracks.map(({ audio }) => new Promise((resolve, reject) => {
        audio.addEventListener("canplay", resolve, { once: true });
        audio.addEventListener("error", () => reject(new Error("not playable")), { once: true });
        audio.preload = "auto";
        audio.load();
      })));
    }
    async start(at) {
      for (const { audio } of tracks) audio.currentTime = at;
      await Promise.all(tracks.map(({ audio }) => audio.play()));
      this.watch = setInterval(() => {
        const lead = tracks[0].audio.currentTime;
        for (const { audio } of tracks) {
          if (Math.abs(audio.currentTime - lead) > 0.05) audio.currentTime = lead;
        }
      }, 1000);
    }
    stop() {
      clearInterval(this.watch);
      for (const { audio } of tracks) audio.pause();
    }
    position() {
      return tracks[0].audio.currentTime;
    }
    hear(gains) {
      tracks.forEach(({ audio }, i) => { audio.muted = gains[i] === 0; });
    }
  }

  const embedded = tracks.every(({ audio }) => audio.src.startsWith("data:"));
  const decoded = tracks.length * duration * 48000 * 2 * 4;
  const player = embedded && decoded < 700e6 ? new BufferPlayer() : new StreamPlayer();
  let ready = null;

  function clock(seconds) {
    const whole = Math.floor(seconds);
    const text = String(whole % 60).padStart(2, "0");
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${minutes}:${text}`;
    return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${text}`;
  }

  function heard(track) {
    if (state.mixture || track.mixture) return state.mixture === track.mixture;
    return state.alone.size ? state.alone.has(track) : !state.muted.has(track);
  }

  function show() {
    root.style.setProperty("--position", duration ? state.position / duration : 0);
    now.textContent = clock(state.position);
    seek.value = state.position;
    seek.setAttribute("aria-valuetext", `${clock(state.position)} of ${clock(duration)}`);
  }

  function listen() {
    for (const track of stems) {
      track.element.classList.toggle("silent", !heard(track));
      track.solo.setAttribute("aria-pressed", state.alone.has(track));
      track.mute.setAttribute("aria-pressed", state.muted.has(track));
    }
    for (const radio of radios) radio.checked = (radio.value === "mixture") === state.mixture;
    if (player.ready) player.hear(tracks.map((track) => Number(heard(track))));
  }

  function setPlaying(playing) {
    state.playing = playing;
    main.classList.toggle("playing", playing);
    playButton.setAttribute("aria-label", playing ? "Pause" : "Play");
    if (playing) requestAnimationFrame(step);
  }

  function step() {
    if (!state.playing) return;
    state.position = Math.min(player.position(), duration);
    show();
    if (state.position >= duration) pause();
    else requestAnimationFrame(step);
  }

  async function play() {
    if (state.playing || main.classList.contains("busy")) return;
    if (state.position >= duration) state.position = 0;
    main.classList.add("busy");
    const waiting = setTimeout(() => { message.textContent = "Loading the audio …"; }, 200);
    try {
      ready ??= player.prepare();
      await ready;
      player.ready = true;
      listen();
      await player.start(state.position);
      message.textContent = "";
      setPlaying(true);
    } catch {
      ready = null;
      message.textContent = embedded
        ? "This browser cannot play the audio in this page."
        : "The audio files that belong to this page are not where it expects them.";
    } finally {
      clearTimeout(waiting);
      main.classList.remove("busy");
    }
  }

  function pause() {
    if (!state.playing) return;
    player.stop();
    setPlaying(false);
  }

  async function seekTo(seconds) {
    state.position = Math.min(Math.max(seconds, 0), duration);
    show();
    if (!state.playing) return;
    player.stop();
    await player.start(state.position);
  }

  function flip(set, track) {
    if (!set.delete(track)) set.add(track);
    state.mixture = false;
    listen();
  }

  playButton.addEventListener("click", () => (state.playing ? pause() : play()));
  seek.addEventListener("input", () => seekTo(Number(seek.value)));
  for (const radio of radios) {
    radio.addEventListener("change", () => { state.mixture = radio.value === "mixture"; listen(); });
  }
  for (const track of stems) {
    track.solo.addEventListener("click", () => flip(state.alone, track));
    track.mute.addEventListener("click", () => flip(state.muted, track));
  }
  for (const { element } of tracks) {
    const axis = element.querySelector(".axis");
    const jump = (event) => {
      const box = axis.getBoundingClientRect();
      seekTo((event.clientX - box.left) / box.width * duration);
    };
    axis.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      axis.setPointerCapture(event.pointerId);
      jump(event);
    });
    axis.addEventListener("pointermove", (event) => {
      if (axis.hasPointerCapture(event.pointerId)) jump(event);
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
    const control = event.target.closest("button, summary, a, input[type=radio]");
    if (digit) {
      const track = stems[Number(digit[1]) - 1];
      if (digit[1] === "0") { state.mixture = !state.mixture; listen(); }
      else if (track) flip(event.shiftKey ? state.alone : state.muted, track);
      else return;
    } else if (event.key === " " && !control) state.playing ? pause() : play();
    else if (event.key === "ArrowLeft" && control?.type !== "radio") seekTo(state.position - 5);
    else if (event.key === "ArrowRight" && control?.type !== "radio") seekTo(state.position + 5);
    else if (event.key === "Home") seekTo(0);
    else return;
    event.preventDefault();
  });

  root.classList.add("js");
  document.querySelector(".transport").hidden = false;
  seek.hidden = false;
  show();
  listen();
})();

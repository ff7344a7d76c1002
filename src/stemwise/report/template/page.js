"use strict";
// Audio that the page holds is in its audio elements, which play without scripts, too: the player
// gets it from there, and takes their place unless something is wrong with it.
(() => {
  const root = document.documentElement;
  const holder = document.getElementById("multitrack");
  const song = JSON.parse(holder.textContent);
  for (const { audio } of song.tracks) {
    if (audio.url.startsWith("#")) audio.url = document.getElementById(audio.url.slice(1)).getAttribute("src");
  }
  holder.textContent = JSON.stringify(song);
  root.classList.add("js");
  // the times of segments go there
  addEventListener("load", () => {
    const { player } = document.getElementById("player");
    if (typeof player?.seek !== "function") return;
    for (const item of document.querySelectorAll("[data-start]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...item.childNodes);
      button.addEventListener("click", () => player.seek(Number(item.dataset.start)));
      item.append(button);
    }
  });
  addEventListener("error", () => root.classList.remove("js"), { once: true });
})();

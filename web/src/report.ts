/** The page of one song that stemwise.report writes: the player, with the document beside it. */

import { createPlayer } from "./player/player";
import type { Multitrack } from "./player/multitrack";

const song = document.getElementById("multitrack")?.textContent;
const root = document.getElementById("player");
if (root !== null && song) createPlayer(root, JSON.parse(song) as Multitrack);

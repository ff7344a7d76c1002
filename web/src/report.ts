import "./report.css";
import { createPlayer } from "./player/player";
import type { Multitrack } from "./player/multitrack";

const data = document.getElementById("multitrack");
const root = document.getElementById("player");
if (data !== null && root !== null) createPlayer(root, JSON.parse(data.textContent ?? "") as Multitrack);

// Bundles the pages into src/stemwise/web, the same bytes on every machine.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync, mkdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "src", "stemwise", "web");
const LIBRARIES = ["wavesurfer.js"];

// A page is made of everything in src but what belongs to another page.
const PAGES = [
  { name: "report", entry: "src/report.ts", others: /^src\/studio\// },
  { name: "studio", entry: "src/studio/main.ts", others: /^src\/report\.ts$/ },
];

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

// Checked by tests/web/test_player_assets.py, which computes the same from the sources.
function fingerprint({ others }) {
  const sources = files(join(here, "src")).map((path) => relative(here, path).replaceAll("\\", "/"));
  const hash = createHash("sha256");
  for (const name of ["build.mjs", "package-lock.json", ...sources.filter((s) => !others.test(s))].sort()) {
    hash.update(`${name}\0`).update(readFileSync(join(here, name))).update("\0");
  }
  return hash.digest("hex");
}

function notices() {
  return LIBRARIES.map((name) => {
    const folder = join(here, "node_modules", name);
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return `Contains ${name} ${version}:\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}`;
  }).join("\n\n");
}

for (const page of PAGES) {
  if (!existsSync(join(here, page.entry))) continue;
  const stamp = `stemwise ${page.name}, sources sha256:${fingerprint(page)}`;
  await build({
    absWorkingDir: here,
    entryPoints: { [page.name]: page.entry },
    outdir: target,
    bundle: true,
    minify: true,
    format: "iife",
    target: ["es2022", "chrome110", "firefox115", "safari16.4"],
    charset: "utf8",
    legalComments: "none",
    loader: { ".svg": "text" },
    banner: {
      js: `/*! ${stamp}; MIT licence.\n\n${notices()}\n*/`,
      css: `/*! ${stamp}; MIT licence. */`,
    },
    logLevel: "warning",
  });
  const html = join(here, dirname(page.entry), `${page.name}.html`);
  if (existsSync(html)) {
    mkdirSync(target, { recursive: true });
    const text = readFileSync(html, "utf8");
    writeFileSync(join(target, `${page.name}.html`), text.replace("<head>", `<head>\n<!-- ${stamp} -->`));
  }
}

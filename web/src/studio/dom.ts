/** Elements built from code: text stays text, whatever a song is called. */

type Child = Node | string | null;
type Properties = Record<string, string | boolean | ((event: Event) => void)>;

/** An element; functions become listeners, everything else attributes. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const PATHS = {
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  cancel: "M6 6l12 12M18 6L6 18",
  delete: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.3 10.5v5.5M13.7 10.5v5.5",
  download: "M12 4v11M7 10.5l5 5 5-5M5 19.5h14",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 3.5V8h-4.5",
  warning: "M12 4.5L21 19.5H3zM12 10v4.5M12 17v.2",
  chevron: "M9 6l6 6-6 6",
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS(space, "path");
  shape.setAttribute("d", PATHS[name]);
  svg.append(shape);
  return svg;
}

/** A button that shows an icon and is called `label`. */
export function iconButton(name: Icon, label: string, press: () => void): HTMLButtonElement {
  return make(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, click: press },
    icon(name),
  );
}

/** The element of the page with this id; the page and this script are shipped together. */
export function part<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`The page has no element ${id}.`);
  return element as T;
}

/** Set text only where it differs, so that screen readers do not read it again. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

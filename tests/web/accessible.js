// What is wrong with the page for those who hear it or see little: controls without a name, and text
// below the contrast of WCAG 2 AA (4.5, or 3 where it is large).
(() => {
  const problems = [];
  const visible = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const channels = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\d.]+/g).map(Number);
    return { red, green, blue, alpha };
  };
  const over = (top, below) => {
    const mixed = (name) => top[name] * top.alpha + below[name] * (1 - top.alpha);
    return { red: mixed("red"), green: mixed("green"), blue: mixed("blue"), alpha: 1 };
  };
  const ancestors = (element) => {
    const found = [];
    for (let one = element; one !== null; one = one.parentElement) found.push(one);
    return found;
  };
  const background = (element) =>
    ancestors(element).reduceRight(
      (below, one) => over(channels(getComputedStyle(one).backgroundColor), below),
      { red: 255, green: 255, blue: 255, alpha: 1 },
    );
  const luminance = ({ red, green, blue }) => {
    const linear = (value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    };
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  };
  const contrast = (element) => {
    const behind = background(element);
    const ink = channels(getComputedStyle(element).color);
    ink.alpha *= ancestors(element).reduce((all, one) => all * getComputedStyle(one).opacity, 1);
    const [light, dark] = [luminance(over(ink, behind)), luminance(behind)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const name = (element) =>
    element.getAttribute("aria-label") ||
    [...(element.labels ?? [])].map((label) => label.textContent).join("") ||
    element.textContent.trim();

  for (const control of document.querySelectorAll("a[href], button, input, select, summary, progress")) {
    if (visible(control) && !name(control)) problems.push(`no name: ${control.outerHTML.slice(0, 120)}`);
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const idle = element.closest(":disabled, [aria-disabled=true], [aria-hidden=true], script, style, option, .unseen");
    if (!texts.currentNode.data.trim() || !visible(element) || idle) continue;
    const { fontSize, fontWeight } = getComputedStyle(element);
    const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700);
    const found = contrast(element);
    if (found < (large ? 3 : 4.5)) problems.push(`contrast ${found.toFixed(2)}: ${texts.currentNode.data.trim()}`);
  }
  return problems;
})();

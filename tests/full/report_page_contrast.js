// Texts with too little contrast to what is behind them (WCAG 2: 4.5 to 1), as sentences.
(() => {
  const parse = c => {
    const n = c.match(/[\d.]+/g).map(Number);
    return c.startsWith('color(') ? [...n.slice(0, 3).map(x => x * 255), n[3] ?? 1]
      : [...n.slice(0, 3), n[3] ?? 1];
  };
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => {
      v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] === 1) return c;
    }
    return [255, 255, 255, 1];
  };
  const wrong = new Set();
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = parse(e.closest('svg') ? style.fill : style.color);
    if (ink[3] === 0) continue;
    const pair = [light(ink), light(behind(e))].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < 4.5) wrong.add(`${e.tagName} ${e.className.baseVal ?? e.className}: ${ratio}`);
  }
  return [...wrong];
})()

// What is wrong with how a page is laid out, as sentences.
(() => {
  const wrong = [];
  const shown = e => e.getClientRects().length > 0;
  const name = e => `<${e.tagName} class="${e.getAttribute('class') || ''}"> `
    + JSON.stringify((e.textContent || '').slice(0, 40));
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} wide`);
  for (const e of document.querySelectorAll('body *:not(svg *)')) {
    if (!shown(e) || e.closest('.scroll') || e.clientWidth === 0) continue;
    if (e.tagName !== 'svg' && e.scrollWidth > e.clientWidth + 1)
      wrong.push(`${name(e)} is wider than its room: ${e.scrollWidth} > ${e.clientWidth}`);
  }
  for (const e of document.querySelectorAll('svg, img')) {
    if (!shown(e)) continue;
    const r = e.getBoundingClientRect();
    if (r.width < 4 || r.height < 4) wrong.push(`${name(e)} has no size`);
    const inside = e.closest('.scroll') || (r.left >= 0 && r.right <= innerWidth + .5);
    if (!inside) wrong.push(`${name(e)} is outside`);
    if (e.tagName === 'IMG' && !e.naturalWidth) wrong.push(`${name(e)} cannot be shown`);
  }
  for (const chart of document.querySelectorAll('.chart')) {
    if (!shown(chart)) continue;
    const frame = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll('text')].map(e => [e, e.getBoundingClientRect()]);
    texts.forEach(([e, r], i) => {
      if (r.left < frame.left - 1 || r.right > frame.right + 1 || r.top < frame.top - 1
          || r.bottom > frame.bottom + 1) wrong.push(`${name(e)} leaves the chart`);
      if (r.height < 9) wrong.push(`${name(e)} is too small: ${r.height}`);
      for (const [other, s] of texts.slice(i + 1))
        if (Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1
            && Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 3)
          wrong.push(`${name(e)} covers ${name(other)}`);
    });
    for (const e of chart.querySelectorAll('circle, path, line')) {
      const r = e.getBoundingClientRect();
      if (r.left < frame.left - 2 || r.right > frame.right + 2 || r.top < frame.top - 2
          || r.bottom > frame.bottom + 2) wrong.push(`${name(e)} leaves the chart`);
    }
  }
  return wrong;
})()

// Opens a page in headless Chromium, at desktop and phone size, light and dark:
//   node look.mjs PAGE.html PICTURES [ID=PATTERN…]
// PLAYWRIGHT names the directory whose node_modules have playwright-core; CHROMIUM the browser.
// Fails on a console error, a request to anywhere, a chart without extent, a line that does not end where its figure is,
// a page wider than its window, and where the element of an ID does not say what PATTERN wants; prints what the first
// screen of a phone says.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

const [page_file, pictures, ...expected] = process.argv.slice(2);
const require = createRequire(path.resolve(process.env.PLAYWRIGHT ?? process.cwd(), 'x.js'));
const { chromium } = require('playwright-core');
mkdirSync(pictures, { recursive: true });
const url = pathToFileURL(path.resolve(page_file)).href;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const wrong = [];
const said = {};
for (const [size, viewport] of Object.entries({ desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } })) {
  for (const colorScheme of ['light', 'dark']) {
    const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: size === 'phone' ? 2 : 1 });
    const page = await context.newPage();
    const at = `${size} ${colorScheme}`;
    page.on('console', (message) => { if (message.type() === 'error') wrong.push(`${at}: console: ${message.text()}`); });
    page.on('pageerror', (error) => wrong.push(`${at}: ${error}`));
    page.on('dialog', (dialog) => { wrong.push(`${at}: a dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on('request', (request) => { if (request.url() !== url) wrong.push(`${at}: asked for ${request.url()}`); });
    await page.goto(url);
    const found = await page.evaluate(() => {
      const seen = (id) => {
        const element = document.getElementById(id);
        if (!element) return null;
        const box = element.getBoundingClientRect();
        return { text: element.innerText, bottom: box.bottom };
      };
      const paths = [...document.querySelectorAll('svg path')];
      // A chart shows something: a line with a length, or a cell.
      const extent = (shape) => { const box = shape.getBBox(); return box.width + box.height; };
      const empty = [...document.querySelectorAll('figure svg')]
        .filter((svg) => ![...svg.querySelectorAll('path, rect')].some((shape) => extent(shape) > 0))
        .map((svg) => svg.getAttribute('aria-label'));
      // A line ends at the height of the figure it ends with.
      let checked = 0;
      const astray = [];
      for (const path of document.querySelectorAll('svg[data-most] path[class^=c]')) {
        const most = Number(path.closest('svg').dataset.most);
        const last = Number(path.dataset.last);
        const y = Number(path.getAttribute('d').split(' ').at(-1));
        const height = path.closest('svg').viewBox.baseVal.height;
        const wanted = height * (1 - Math.min(1, Math.max(0, last / most)));
        checked += 1;
        if (!(Math.abs(y - wanted) < 0.2)) astray.push(`${path.dataset.name}: ${last} of ${most} at ${y} of ${height}`);
      }
      return {
        ids: Object.fromEntries(['rule', 'summary', 'cause', 'eater', 'left', 'first'].map((id) => [id, seen(id)])),
        paths: paths.length, empty, checked, astray, rects: document.querySelectorAll('svg rect').length,
        wide: document.documentElement.scrollWidth, window: window.innerWidth, height: window.innerHeight,
        scripts: document.scripts.length, background: getComputedStyle(document.body).backgroundColor,
      };
    });
    if (found.wide > found.window) wrong.push(`${at}: ${found.wide} px wide in a window of ${found.window}`);
    if (found.scripts) wrong.push(`${at}: ${found.scripts} scripts`);
    if (found.paths + found.rects === 0) wrong.push(`${at}: nothing is drawn`);
    for (const title of found.empty) wrong.push(`${at}: the chart ${title} is empty`);
    for (const line of found.astray) wrong.push(`${at}: a line astray: ${line}`);
    if (!found.checked) wrong.push(`${at}: no line could be checked against its data`);
    for (const pair of expected) {
      const [id, pattern] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
      const text = found.ids[id]?.text ?? '';
      if (!new RegExp(pattern).test(text)) wrong.push(`${at}: #${id} says ${JSON.stringify(text)}, not ${pattern}`);
    }
    for (const id of ['rule', 'eater', 'left', 'first']) {
      const what = found.ids[id];
      if (!what) wrong.push(`${at}: no #${id}`);
      else if (what.bottom > found.height) wrong.push(`${at}: #${id} is below the first screen`);
    }
    said[at] = found;
    await page.screenshot({ path: path.join(pictures, `${size}-${colorScheme}.png`) });
    if (colorScheme === 'light') await page.screenshot({ path: path.join(pictures, `${size}-whole.png`), fullPage: true });
    await context.close();
  }
}
await browser.close();
if (said['desktop light'].background === said['desktop dark'].background) wrong.push('light and dark are one');
console.log(JSON.stringify(said['phone light'], null, 1));
if (wrong.length) { console.error(wrong.join('\n')); process.exit(1); }

// Opens a page in headless Chromium, at desktop and phone size, light and dark:
//   node look.mjs PAGE.html PICTURES   (NODE_PATH or ./node_modules with playwright-core; CHROMIUM names the browser)
// Fails on a console error, a request to anywhere, a chart without extent, or a page wider than its window; prints what
// the first screen of a phone says.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

const [page_file, pictures] = process.argv.slice(2);
const require = createRequire(path.join(process.env.PLAYWRIGHT ?? process.cwd(), 'x.js'));
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
      const flat = paths.filter((path) => { const box = path.getBBox(); return box.width + box.height === 0; }).length;
      return {
        ids: Object.fromEntries(['rule', 'summary', 'cause', 'eater', 'left', 'first'].map((id) => [id, seen(id)])),
        paths: paths.length, flat, rects: document.querySelectorAll('svg rect').length,
        wide: document.documentElement.scrollWidth, window: window.innerWidth, height: window.innerHeight,
        scripts: document.scripts.length, background: getComputedStyle(document.body).backgroundColor,
      };
    });
    if (found.wide > found.window) wrong.push(`${at}: ${found.wide} px wide in a window of ${found.window}`);
    if (found.scripts) wrong.push(`${at}: ${found.scripts} scripts`);
    if (found.paths + found.rects === 0) wrong.push(`${at}: nothing is drawn`);
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

/** Steps of a user in headless Chromium, for the scenarios. */

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];

/** Start Chromium. `modules` is the folder in which puppeteer-core is installed. */
export async function launch(chromium, modules, profile) {
  const found = createRequire(`${modules}/`).resolve("puppeteer-core");
  const { default: puppeteer } = await import(pathToFileURL(found));
  return puppeteer.launch({ executablePath: chromium, userDataDir: profile, args: FLAGS });
}

/** Open the page. What happens in it is collected: answers, addresses, and errors of scripts. */
export async function openPage(browser, url, viewport = { width: 1280, height: 860 }) {
  const page = await browser.newPage();
  await page.setViewport(viewport);
  const seen = { addresses: [], errors: [] };
  page.on("request", (request) => seen.addresses.push(request.url()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  await page.evaluateOnNewDocument(() => {
    window.answers = [];
    document.addEventListener("explained", ({ detail }) => window.answers.push(detail));
  });
  await page.goto(url);
  return { page, seen };
}

/** Do something and wait for the answer that follows. */
export async function answerTo(page, act) {
  const before = await page.evaluate(() => window.answers.length);
  await act();
  await page.waitForFunction((count) => window.answers.length > count, {}, before);
  return lastAnswer(page);
}

/** The last answer; its arrays as base64 of float32, so that no digit is lost. */
export function lastAnswer(page) {
  return page.evaluate(() => {
    const { heatmap, scores, size, explained, status, choice, milliseconds } = window.answers.at(-1);
    const base64 = (array) =>
      btoa(Array.from(new Uint8Array(array.slice().buffer), (byte) => String.fromCharCode(byte)).join(""));
    const text = (id) => document.getElementById(id).textContent;
    return {
      heatmap: base64(heatmap),
      scores: base64(scores),
      size,
      explained,
      status,
      milliseconds,
      method: choice.method,
      caption: text("caption"),
      facts: text("facts"),
      pressed: [...document.querySelectorAll("#classes [aria-pressed=true] .name")].map((n) => n.textContent),
      heatHidden: document.getElementById("heat").hidden,
    };
  });
}

/** Wait for the first answer after loading. */
export async function firstAnswer(page) {
  await page.waitForFunction(() => window.answers.length > 0);
  return lastAnswer(page);
}

/** Choose a file with a button of the page. */
export async function choose(page, button, file) {
  const [chooser] = await Promise.all([page.waitForFileChooser(), page.click(button)]);
  await chooser.accept([file]);
}

/** Drop a file on the picture as the mouse does. */
export async function drop(page, file) {
  const session = await page.createCDPSession();
  const data = { items: [], files: [file], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "dragOver", "drop"]) {
    await session.send("Input.dispatchDragEvent", { type, x: 300, y: 300, data });
  }
}

/** The text of the message, once there is one. */
export async function message(page) {
  await page.waitForSelector("#message:not([hidden])");
  return page.$eval("#message-text", (node) => node.textContent);
}

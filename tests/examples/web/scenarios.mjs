/**
 * What users do, and what is seen then: prints one JSON object, which test_web.py judges.
 *
 * Its argument is a JSON object: chromium, modules, profile, downloads, the addresses `page`, `bare` (without ONNX
 * Runtime) and `foreign` (its models.json names another origin), and a folder of `files`.
 */

import { answerTo, choose, drop, firstAnswer, lastAnswer, launch, message, openPage } from "./browser.mjs";

const given = JSON.parse(process.argv[2]);
const file = (name) => `${given.files}/${name}`;
const row = (number) => `#classes li:nth-child(${number}) button`;

const scenarios = {
  async first(browser) {
    const { page, seen } = await openPage(browser, given.page);
    const answer = await firstAnswer(page);
    const notice = await page.$("#not-started");
    return { ...seen, answer, notice: notice !== null };
  },

  async picture(browser) {
    const { page } = await openPage(browser, given.page);
    await firstAnswer(page);
    const chosen = await answerTo(page, () => choose(page, "#choose-picture", file("tall.png")));
    const second = await answerTo(page, () => page.click(row(2)));
    const again = await answerTo(page, () => page.click(row(2)));
    const dropped = await answerTo(page, () => drop(page, file("wide.png")));
    const large = await answerTo(page, () => choose(page, "#choose-picture", file("large.png")));
    return { chosen, second, again, dropped, large };
  },

  async methods(browser) {
    const { page } = await openPage(browser, given.page);
    await firstAnswer(page);
    const third = await answerTo(page, () => page.click(row(3)));
    const switched = await answerTo(page, () => page.click("#methods label:nth-of-type(2)"));
    const model = await answerTo(page, () => page.select("#model", "Tiny"));
    return { third, switched, model };
  },

  async overlay(browser) {
    const { page } = await openPage(browser, given.tiny);
    await firstAnswer(page);
    await page.focus("#opacity");
    for (let step = 0; step < 50; step++) await page.keyboard.press("ArrowLeft");
    const opacity = await page.$eval("#heat", (node) => node.style.opacity);
    const value = await page.$eval("#opacity-value", (node) => node.textContent);
    const session = await browser.target().createCDPSession();
    await session.send("Browser.setDownloadBehavior", {
      behavior: "allow",
      downloadPath: given.downloads,
      eventsEnabled: true,
    });
    const ended = new Promise((resolve) => {
      session.on("Browser.downloadProgress", ({ state }) => state === "completed" && resolve());
    });
    await page.click("#save");
    await ended;
    const inferno = await page.$eval("#legend-bar", (node) => node.style.background);
    await page.click("#colors label:nth-of-type(3)");
    const viridis = await page.$eval("#legend-bar", (node) => node.style.background);
    return { opacity, value, inferno, viridis };
  },

  async statuses(browser) {
    const { page } = await openPage(browser, given.tiny);
    await firstAnswer(page);
    const answers = [];
    for (const number of [3, 4, 5]) answers.push(await answerTo(page, () => page.click(row(number))));
    return answers;
  },

  async refusals(browser) {
    const { page } = await openPage(browser, given.page);
    await firstAnswer(page);
    const messages = {};
    for (const name of given.bad) {
      await drop(page, file(name));
      messages[name] = await message(page);
      await page.click("#message-close");
    }
    const after = await answerTo(page, () => page.click(row(2)));
    return { messages, after };
  },

  async ownFile(browser) {
    const { page } = await openPage(browser, given.page);
    await firstAnswer(page);
    const dropped = await answerTo(page, () => drop(page, file("tiny.onnx")));
    const chosen = await answerTo(page, () => choose(page, "#choose-model", file("prepared.onnx")));
    const models = await page.$$eval("#model option", (options) => options.map((option) => option.value));
    return { dropped, chosen, models };
  },

  async camera(browser) {
    const { page } = await openPage(browser, given.tiny);
    await firstAnswer(page);
    await page.click("#camera");
    await page.waitForFunction(() => window.answers.length > 4);
    const live = await lastAnswer(page);
    await page.click("#pause");
    await page.waitForFunction(() => document.getElementById("busy").hidden);
    const count = () => page.evaluate(() => window.answers.length);
    const paused = await count();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const still = (await count()) - paused;
    const second = await page.$eval(row(2), (button) => Number(button.dataset.index));
    const clicked = await answerTo(page, () => page.click(row(2)));
    await answerTo(page, () => page.click("#pause"));
    await page.click("#camera");
    const buttons = await page.$$eval(".sources > button", (all) =>
      all.filter((button) => !button.hidden).map((button) => button.textContent),
    );
    return { live, still, second, clicked, buttons };
  },

  async keyboard(browser) {
    const { page } = await openPage(browser, given.page);
    await firstAnswer(page);
    const names = [];
    for (let step = 0; step < 30; step++) {
      await page.keyboard.press("Tab");
      names.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
    }
    await page.focus(row(2));
    const entered = await answerTo(page, () => page.keyboard.press("Enter"));
    const focused = await page.evaluate(() => document.activeElement.querySelector(".name")?.textContent);
    return { names, entered, focused };
  },

  async phone(browser) {
    const viewport = { width: 360, height: 740, isMobile: true, hasTouch: true };
    const { page } = await openPage(browser, given.page, viewport);
    await firstAnswer(page);
    const tapped = await answerTo(page, () => page.tap(row(2)));
    const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    const lows = await page.$$eval("button:not([hidden]), select", (all) =>
      all.map((node) => node.getBoundingClientRect().height).filter((height) => height > 0 && height < 32),
    );
    return { tapped, widths, lows };
  },

  async bare(browser) {
    const { page } = await openPage(browser, given.bare);
    return message(page);
  },

  async foreign(browser) {
    const { page } = await openPage(browser, given.foreign);
    const refused = await message(page);
    const fetched = await page.evaluate(
      (url) => fetch(url).then(() => "fetched", () => "refused"),
      given.other,
    );
    return { refused, fetched };
  },

  async stop(browser) {
    const { page } = await openPage(browser, given.tiny);
    await firstAnswer(page);
    await drop(page, file("endless.onnx"));
    await page.waitForSelector("#stop", { visible: true });
    const facts = await page.$eval("#facts", (node) => node.textContent);
    await page.click("#stop");
    await page.waitForSelector("#busy", { hidden: true });
    const stopped = await page.evaluate(() =>
      ["facts", "message-text"].map((id) => document.getElementById(id).textContent),
    );
    const after = await answerTo(page, () => page.select("#model", "Tiny"));
    return { facts, stopped, after };
  },

  async fallback(browser) {
    const { page } = await openPage(browser, given.tiny);
    await firstAnswer(page);
    return page.evaluate(async () => {
      const { Runner } = await import("./js/runner.js");
      const runner = new Runner("webgpu");
      const source = { id: "tiny", url: new URL("files/tiny.onnx", location.href).href };
      const opened = await runner.open(source);
      return { backend: runner.backend, inputs: opened.inputs.map((port) => port.name) };
    });
  },

  async region(browser) {
    const { page } = await openPage(browser, given.page);
    return page.evaluate(async () => {
      const { seenRegion } = await import("./js/preprocess.js");
      return seenRegion({ fit: "crop", size: [224, 224], resize: 256 }, new ImageData(600, 400));
    });
  },

  async metadata(browser) {
    const { page } = await openPage(browser, given.page);
    return page.evaluate(async (names) => {
      const { readMetadata } = await import("./js/metadata.js");
      const read = async (name) => {
        const response = await fetch(`files/${name}`);
        return [name, readMetadata(new Uint8Array(await response.arrayBuffer()))];
      };
      return Object.fromEntries(await Promise.all(names.map(read)));
    }, given.models);
  },
};

const browser = await launch(given.chromium, given.modules, given.profile);
const seen = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  try {
    seen[name] = await scenario(browser);
  } catch (error) {
    seen[name] = { failed: `${error.message}` };
  }
}
await browser.close();
console.log(JSON.stringify(seen));

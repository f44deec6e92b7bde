/** Small pieces of the page that are written again when something changes. */

import { percent } from "./scores.js";

/**
 * The element with an id.
 *
 * @param {string} id
 * @returns {any}
 */
export const $ = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} properties
 * @param {(Node | string)[]} children
 */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** @param {import("./errors.js").UserError | null} error null to show none. */
export function showMessage(error) {
  $("message").hidden = !error;
  const parts = error ? [error.message, ...(error.command ? [element("pre", {}, error.command)] : [])] : [];
  $("message-text").replaceChildren(...parts);
}

/**
 * Write the list of classes. Rows stay the same elements, so that the focus is kept.
 *
 * @param {import("./scores.js").Row[]} rows
 * @param {number} explained the class whose map is shown.
 * @param {(index: number) => void} onChoose
 */
export function showRows(rows, explained, onChoose) {
  const list = $("classes");
  list.querySelectorAll(".placeholder").forEach((/** @type {Element} */ item) => item.remove());
  while (list.children.length > rows.length) list.lastElementChild.remove();
  while (list.children.length < rows.length) list.append(element("li", {}, classButton(onChoose)));
  rows.forEach(({ index, label, share }, at) => {
    const button = list.children[at].firstElementChild;
    button.dataset.index = String(index);
    button.setAttribute("aria-pressed", String(index === explained));
    button.querySelector(".name").textContent = label;
    button.querySelector(".share").textContent = percent(share);
    button.querySelector("i").style.width = `${100 * share}%`;
  });
}

/** @param {(index: number) => void} onChoose */
function classButton(onChoose) {
  const bar = element("span", { className: "bar" }, element("i"));
  bar.setAttribute("aria-hidden", "true");
  const button = element(
    "button",
    { type: "button" },
    element("span", { className: "name" }),
    element("span", { className: "share" }),
    bar,
  );
  button.addEventListener("click", () => onChoose(Number(button.dataset.index)));
  return button;
}

/** Fill the list of classes with empty rows. */
export function showNoRows() {
  $("classes").replaceChildren(...Array.from({ length: 5 }, () => element("li", { className: "placeholder" })));
}

/**
 * Write radio buttons.
 *
 * @param {HTMLFieldSetElement} group keeps its legend.
 * @param {{value: string, face: HTMLElement}[]} options
 * @param {string} checked
 * @param {(value: string) => void} onPick
 */
export function showRadios(group, options, checked, onPick) {
  const labels = options.map(({ value, face }) => {
    const input = element("input", { type: "radio", name: group.id, value, checked: value === checked });
    input.setAttribute("aria-label", value);
    input.addEventListener("change", () => onPick(value));
    return element("label", { title: value }, input, face);
  });
  group.replaceChildren(...group.querySelectorAll("legend"), ...labels);
}

/** @param {Record<string, string>} facts empty ones are left out. */
export function showFacts(facts) {
  const shown = Object.entries(facts).filter(([, fact]) => fact);
  $("facts").replaceChildren(
    ...shown.map(([name, fact]) => element("div", {}, element("dt", {}, name), element("dd", {}, fact))),
  );
}

/**
 * Change the icon and the text of a button.
 *
 * @param {HTMLElement} button
 * @param {string} icon the end of its symbol's id.
 * @param {string} text
 */
export function setFace(button, icon, text) {
  button.querySelector("use")?.setAttribute("href", `#icon-${icon}`);
  /** @type {Element} */ (button.querySelector("span")).textContent = text;
}

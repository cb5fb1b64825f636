// Elements by hand. What a program, a log or the server said is only ever set as text.

/** The element with this id, which index.html has. */
export const the = (id) => document.getElementById(id);

/**
 * A new element. `attributes`: `class`, `text`, `onclick` and other listeners, `data` (an object); what is null,
 * undefined or false is left out, true is an empty attribute. `children`: elements or text.
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Change the text only where it differs: a selection or a screen reader is not disturbed for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A line that goes away by itself. `kind`: "good" or "bad". */
export function toast(text, kind = "good") {
  const line = h("p", { class: `toast ${kind}`, text });
  the("toasts").append(line);
  setTimeout(() => line.remove(), kind === "bad" ? 12_000 : 5_000);
}

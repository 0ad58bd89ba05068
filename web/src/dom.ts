/** Elements made in one expression; attributes that are functions are listeners, `null` leaves an attribute out. */

type Value = string | number | boolean | null | undefined | ((event: never) => void);
export type Attributes = Record<string, Value>;
export type Child = Node | string | number | null | undefined | false;

const SVG = "http://www.w3.org/2000/svg";

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

export function s<K extends keyof SVGElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag) as SVGElementTagNameMap[K], attributes, children);
}

function fill<E extends Element>(element: E, attributes: Attributes, children: Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value as unknown as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

export function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put these children in the place of those that are there. */
export function refill(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

export function button(label: string, act: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return h("button", { type: "button", click: act, ...attributes }, label);
}

/** A row of buttons of which one is pressed; arrow keys are the browser's own for radio buttons. */
export function choice<T extends string>(
  legend: string, options: [T, string, string?][], first: T, chosen: (value: T) => void,
): { element: HTMLElement; set: (value: T) => void; value: () => T } {
  const group = `choice-${choices++}`;
  let current = first;
  const inputs = new Map<T, HTMLInputElement>();
  const element = h("fieldset", { class: "choice" }, h("legend", { class: "hidden" }, legend));
  for (const [value, label, title] of options) {
    const input = h("input", {
      type: "radio", name: group, value, checked: value === first,
      change: () => { current = value; chosen(value); },
    });
    inputs.set(value, input);
    element.append(h("label", { title: title ?? null }, input, h("span", {}, label)));
  }
  const set = (value: T) => {
    current = value;
    const input = inputs.get(value);
    if (input) input.checked = true;
  };
  return { element, set, value: () => current };
}
let choices = 0;

export function select(
  label: string, options: [string, string][], value: string, chosen: (value: string) => void,
): HTMLSelectElement {
  const element = h("select", { "aria-label": label, title: label, change: () => chosen(element.value) });
  for (const [name, text] of options) element.append(h("option", { value: name, selected: name === value }, text));
  return element;
}

/** A slider whose words for a screen reader are those that stand beside it. */
export function slider(
  label: string, range: { min: number; max: number; step: number; value: number }, moved: (value: number) => void,
): HTMLInputElement {
  const element = h("input", {
    type: "range", "aria-label": label, title: label, ...range, input: () => moved(Number(element.value)),
  });
  return element;
}

export function section(id: string, title: string, ...children: Child[]): HTMLElement {
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...children);
}

/** Say something to those who see the page and to those who hear it. */
export function announce(words: string): void {
  const region = document.getElementById("announcer");
  if (region && region.textContent !== words) region.textContent = words;
}

export const calm = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const dark = (): boolean => matchMedia("(prefers-color-scheme: dark)").matches;

/** Offer a file; the address of its contents is given back to the browser a minute later. */
export function download(name: string, contents: Blob): void {
  const address = URL.createObjectURL(contents);
  const link = h("a", { href: address, download: name, class: "hidden" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Copy text; pages opened from a file may not have the clipboard, then the old way serves. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

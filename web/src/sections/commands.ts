/** Commands with a button that copies each. */

import { button, copy, h } from "../dom";
import type { Command } from "../scene";

export function commandList(commands: Command[]): HTMLElement {
  return h("dl", { class: "commands" }, ...commands.flatMap(({ purpose, command }) => {
    const take = button("Copy", () => void copy(command).then((done) => {
      take.textContent = done ? "Copied" : "Select it by hand";
      setTimeout(() => { take.textContent = "Copy"; }, 2000);
    }), { "aria-label": `Copy: ${purpose}` });
    return [h("dt", {}, purpose), h("dd", {}, h("code", { tabindex: 0 }, command), take)];
  }));
}

/** The head of the page: what it is of, and what was found, the worst first. */

import { h } from "../dom";
import type { Finding, Scene } from "../scene";

const SIGNS: Record<Finding["verdict"], [string, string]> = {
  bad: ["✕", "Problem"], warning: ["!", "Warning"], note: ["i", "Note"], good: ["✓", "Good"],
};
const ORDER: Finding["verdict"][] = ["bad", "warning", "note", "good"];

export function header(scene: Scene): HTMLElement {
  return h("header", {},
    h("div", { class: "title" },
      h("h1", {}, scene.title), h("p", {}, scene.subtitle),
      h("span", { class: "brand" }, scene.live ? "Morphem · live" : "Morphem · report")),
    h("dl", { class: "summary" }, ...scene.summary.map(([label, value]) =>
      h("div", {}, h("dt", {}, label), h("dd", {}, value)))),
    scene.findings.length > 0 && findings(scene.findings));
}

function findings(all: Finding[]): HTMLElement {
  const sorted = [...all].sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
  const counts = ORDER.map((verdict) => [verdict, all.filter((each) => each.verdict === verdict).length] as const);
  const serious = sorted.some(({ verdict }) => verdict === "bad" || verdict === "warning");
  return h("details", { class: "findings", id: "findings", open: serious },
    h("summary", {}, h("span", { class: "heading" }, "What to know before trusting it"),
      ...counts.filter(([, many]) => many > 0).map(([verdict, many]) => h("span", { class: `tally ${verdict}` },
        h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[verdict][0]),
        `${many} ${SIGNS[verdict][1].toLowerCase()}${many > 1 && verdict !== "good" ? "s" : ""}`))),
    h("ul", {}, ...sorted.map((finding) => h("li", { class: finding.verdict },
      h("span", { class: "sign", title: SIGNS[finding.verdict][1] }, SIGNS[finding.verdict][0]),
      h("div", {}, h("strong", {}, h("span", { class: "hidden" }, `${SIGNS[finding.verdict][1]}: `), finding.title),
        h("p", {}, finding.text))))));
}

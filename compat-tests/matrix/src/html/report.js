"use strict";
const dialog = document.getElementById("detail");
const words = {
  passed: "kept", failed: "broken", hung: "did not end", skipped: "makes no sense there",
  known: "not kept, as is known", recovered: "kept, though it is said to be broken",
};

function show(button) {
  const detail = JSON.parse(button.dataset.detail);
  const row = button.closest("tr");
  const subject = button.id.slice(button.id.indexOf("@") + 1);
  const set = (where, text) => { dialog.querySelector(where).textContent = text; };
  set("h2", row.querySelector("th").textContent);
  set(".verdict", `On ${subject}: ${words[detail.standing]}, after ${(detail.seconds * 1000).toFixed(1)} ms.`);
  set(".promise", `If this is broken: ${row.dataset.promise}`);
  set(".known", detail.known ?? "");
  set("pre", detail.text);
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", "#" + button.id);
}

document.querySelector("table").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) show(button);
});
dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function choose() {
  const text = document.getElementById("search").value.toLowerCase();
  const broken = document.getElementById("broken").checked;
  for (const body of document.querySelectorAll("tbody")) {
    let any = false;
    for (const row of body.querySelectorAll("tr[data-promise]")) {
      const found = (row.textContent + row.dataset.promise).toLowerCase().includes(text);
      const bad = row.querySelector(".failed, .hung, .recovered, .known") !== null;
      row.hidden = !found || (broken && !bad);
      any ||= !row.hidden;
    }
    body.hidden = !any;
  }
}
document.getElementById("search").addEventListener("input", choose);
document.getElementById("broken").addEventListener("change", choose);
document.querySelector("header form").addEventListener("submit", (event) => event.preventDefault());

const asked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (asked && asked.dataset.detail) show(asked);

// What the page does beyond links and forms: times in the reader's zone, branches fetched as they are opened, keys in the
// tree, the live tail, copying. Without it everything can still be reached.
"use strict";

const localTimes = (root) => {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const element of root.querySelectorAll("time[datetime]")) {
    const when = new Date(element.dateTime);
    if (Number.isNaN(when.getTime())) continue;
    element.title = element.dateTime;
    element.textContent = format.format(when);
  }
};

const fetchPart = async (address) => {
  const response = await fetch(address, { headers: { "X-Part": "1" }, redirect: "error" });
  if (!response.ok) throw new Error(String(response.status));
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  localTimes(made);
  return [...made.body.childNodes];
};

// The tree: one item takes the focus, arrows move it, as ARIA's pattern for trees says.
const visible = (tree) => [...tree.querySelectorAll("[role=treeitem]")].filter((item) => !item.parentElement.closest("[aria-expanded=false]"));

const focusOn = (tree, item) => {
  for (const other of tree.querySelectorAll("[tabindex='0'][role=treeitem]")) other.tabIndex = -1;
  item.tabIndex = 0;
  item.focus();
};

const setOpen = async (item, open) => {
  if (!item.hasAttribute("aria-expanded")) return;
  const toggle = item.querySelector(":scope > .node > .toggle");
  if (open && !item.querySelector(":scope > [role=group]")) {
    toggle.textContent = "…";
    try {
      item.append(...await fetchPart(toggle.dataset.part));
    } catch {
      location.assign(toggle.href);
      return;
    }
  }
  const group = item.querySelector(":scope > [role=group]");
  if (group) group.hidden = !open;
  item.setAttribute("aria-expanded", String(open));
  toggle.textContent = open ? "▾" : "▸";
};

const choose = async (tree, item) => {
  const link = item.querySelector(":scope > .node > .label-of");
  const detail = document.querySelector(".detail");
  if (!link || !detail || !link.dataset.part) return;
  try {
    detail.replaceChildren(...await fetchPart(link.dataset.part));
  } catch {
    location.assign(link.href);
    return;
  }
  for (const other of tree.querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
  for (const other of tree.querySelectorAll(".node.chosen")) other.classList.remove("chosen");
  item.setAttribute("aria-selected", "true");
  item.querySelector(":scope > .node").classList.add("chosen");
  detail.scrollTop = 0;
  history.replaceState(null, "", link.href);
};

const setUpTree = (tree) => {
  tree.setAttribute("role", "tree");
  const items = visible(tree);
  const first = tree.querySelector("[aria-selected=true]") ?? items[0];
  if (first) first.tabIndex = 0;
  for (const link of tree.querySelectorAll("a")) link.tabIndex = -1;
  tree.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const link = event.target.closest("a");
    if (!link) return;
    const item = link.closest("[role=treeitem]");
    if (link.classList.contains("toggle")) {
      event.preventDefault();
      setOpen(item, item.getAttribute("aria-expanded") !== "true");
    } else if (link.classList.contains("label-of")) {
      event.preventDefault();
      focusOn(tree, item);
      choose(tree, item);
    } else if (link.dataset.part) {
      event.preventDefault();
      fetchPart(link.dataset.part).then((nodes) => link.closest("li").replaceWith(...nodes), () => location.assign(link.href));
    }
  });
  tree.addEventListener("keydown", async (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.target !== item) return;
    const shown = visible(tree);
    const at = shown.indexOf(item);
    const open = item.getAttribute("aria-expanded");
    let to = null;
    if (event.key === "ArrowDown") to = shown[at + 1];
    else if (event.key === "ArrowUp") to = shown[at - 1];
    else if (event.key === "Home") to = shown[0];
    else if (event.key === "End") to = shown[shown.length - 1];
    else if (event.key === "ArrowRight" && open === "true") to = item.querySelector("[role=group] > [role=treeitem]");
    else if (event.key === "ArrowRight" && open === "false") await setOpen(item, true);
    else if (event.key === "ArrowLeft" && open === "true") await setOpen(item, false);
    else if (event.key === "ArrowLeft") to = item.parentElement.closest("[role=treeitem]");
    else if (event.key === "Enter" || event.key === " ") {
      const more = item.querySelector(":scope > a[data-part]");
      if (more) more.click(); else await choose(tree, item);
    } else return;
    event.preventDefault();
    for (const link of tree.querySelectorAll("a")) link.tabIndex = -1;
    if (to) focusOn(tree, to);
  });
};

// The live tail: rows come as events and take their place on top.
const setUpTail = (table) => {
  const source = new EventSource(table.dataset.tail);
  const state = document.querySelector("#tail-state");
  source.addEventListener("row", (event) => {
    const made = new DOMParser().parseFromString(`<table><tbody>${event.data}</tbody></table>`, "text/html");
    localTimes(made);
    const row = made.querySelector("tr");
    if (!row) return;
    const old = table.querySelector(`tr[data-id="${CSS.escape(row.dataset.id)}"]`);
    if (old) old.replaceWith(row); else table.querySelector("tbody").prepend(row);
    while (table.querySelectorAll("tbody tr").length > 200) table.querySelector("tbody tr:last-child").remove();
  });
  source.addEventListener("trouble", (event) => { if (state) state.textContent = event.data; });
  source.addEventListener("open", () => { if (state) state.textContent = "Live"; });
};

localTimes(document);
document.querySelectorAll("ul.tree").forEach(setUpTree);
document.querySelectorAll("table[data-tail]").forEach(setUpTail);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = await (await fetch(button.dataset.copy)).text();
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
});

// The pages work without this. With it they stay up to date, copy, and select at once.
(() => {
  "use strict";

  // Times: how long ago goes on; the title tells the visitor's own time.
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const ago = (moment) => {
    const gap = (Date.now() - moment) / 1000;
    const unit = units.find(([, seconds]) => Math.abs(gap) >= seconds);
    if (!unit) return "just now";
    const number = Math.floor(Math.abs(gap) / unit[1]);
    return gap > 0 ? `${number} ${unit[0]} ago` : `in ${number} ${unit[0]}`;
  };
  const tick = () => {
    for (const time of document.querySelectorAll("time.ago")) {
      time.textContent = ago(Date.parse(time.dateTime));
    }
  };
  const enhance = () => {
    for (const hidden of document.querySelectorAll("[data-copy][hidden], [data-with-script][hidden]")) {
      hidden.hidden = false;
    }
    for (const time of document.querySelectorAll("time.when")) {
      time.title = `${time.dateTime}\n${new Date(time.dateTime).toLocaleString()} here`;
    }
    tick();
    count();
  };
  setInterval(() => document.hidden || tick(), 10000);

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = button.dataset.copy || button.parentElement.querySelector("pre").textContent;
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy by hand";
    }
    setTimeout(() => { button.textContent = before; }, 1600);
  });

  // Selecting all rows, and saying how many are selected.
  const boxes = () => [...document.querySelectorAll("input[data-pick]")];
  const count = () => {
    const button = document.querySelector("[data-picked]");
    if (!button) return;
    const number = boxes().filter((box) => box.checked).length;
    button.textContent = number ? `Replay ${number} selected` : "Replay selected";
    button.disabled = number === 0;
    const all = document.querySelector("input[data-pick-all]");
    if (all) {
      all.checked = number > 0 && number === boxes().length;
      all.indeterminate = number > 0 && number < boxes().length;
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[data-pick-all]")) {
      for (const box of boxes()) box.checked = event.target.checked;
    }
    count();
  });

  // A wide graph begins where one looks for it: at what was asked for.
  const root = document.querySelector(".node.root .face");
  const graph = document.querySelector(".graph");
  if (root && graph) {
    const place = root.getBoundingClientRect(), frame = graph.getBoundingClientRect();
    graph.scrollLeft = place.left - frame.left - frame.width / 2 + place.width / 2;
    graph.scrollTop = place.top - frame.top - frame.height / 2 + place.height / 2;
  }

  // An open menu closes by Escape and by a click elsewhere.
  const menus = () => document.querySelectorAll("details.menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // Staying up to date: the live part is asked for again and again, and answered once it has changed.
  const region = document.querySelector("[data-live]");
  const toggle = document.querySelector("[data-live-toggle]");
  enhance();
  if (!region || !region.dataset.live || !toggle) return;
  const word = toggle.querySelector("[data-live-word]");
  const said = document.querySelector("[data-said]");
  let on = true, etag = null, asking = null;

  const show = (text) => { if (word.textContent !== text) word.textContent = text; };
  const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
  const seen = () => document.hidden
    ? new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }))
    : null;

  // Nothing moves under a pointer or a focus that is about to use it.
  let moved = 0;
  region.addEventListener("pointermove", () => { moved = Date.now(); });
  region.addEventListener("pointerleave", () => { moved = 0; });
  const inUse = () => Date.now() - moved < 3000
    || (region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea"))
    || (!getSelection().isCollapsed && region.contains(getSelection().anchorNode));
  const atRest = async () => {
    while (on && inUse()) {
      show("News waits for a still moment");
      await pause(0.3);
    }
  };

  const keyOf = (node) => (node && node.dataset ? node.dataset.key : undefined);
  const sync = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeType !== 1 || now.nodeType !== 1 || old.tagName !== now.tagName || keyOf(old) !== keyOf(now)) {
      old.replaceWith(now);
      return;
    }
    for (const { name } of [...old.attributes]) {
      // What the visitor opened stays open.
      if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of [...now.attributes]) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const known = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
    let at = old.firstChild;
    for (const next of [...now.childNodes]) {
      const same = known.get(keyOf(next));
      if (same) {
        if (same === at) at = at.nextSibling;
        else old.insertBefore(same, at);
        sync(same, next);
      } else if (keyOf(next) || !at || keyOf(at)) {
        if (keyOf(next)) next.classList.add("fresh");
        old.insertBefore(next, at);
      } else {
        const here = at;
        at = at.nextSibling;
        sync(here, next);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const apply = (html) => {
    const before = new Set([...region.querySelectorAll("tr[data-key]")].map(keyOf));
    const fresh = region.cloneNode(false);
    fresh.innerHTML = html;
    const more = [...fresh.querySelectorAll("tr[data-key]")].filter((row) => !before.has(keyOf(row))).length;
    sync(region, fresh);
    enhance();
    if (more) said.textContent = `${more} new in the list`;
  };

  const follow = async () => {
    while (on) {
      await seen();
      if (!on) return;
      asking = new AbortController();
      try {
        const headers = { Accept: "text/html", "Hookline-Part": "live", Prefer: "wait=20" };
        if (etag) headers["If-None-Match"] = etag;
        const answer = await fetch(location.href, { headers, cache: "no-store", signal: asking.signal });
        if (answer.status === 401) { location.reload(); return; }
        if (answer.status !== 304) {
          if (!answer.ok) throw new Error(answer.status);
          const html = await answer.text();
          await atRest();
          if (!on) return;
          etag = answer.headers.get("etag");
          apply(html);
        }
        show("Live");
      } catch {
        if (!on) return;
        show("Not connected; trying again");
        await pause(3);
      }
    }
  };

  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    on = !on;
    toggle.setAttribute("aria-pressed", String(on));
    show(on ? "Live" : "Paused");
    if (on) follow(); else if (asking) asking.abort();
  });
  follow();
})();

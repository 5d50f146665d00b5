// Slipway's one script. Every page works without it; it adds copying, keys, and pages that change as builds do.
"use strict";
(() => {
  const one = (q, from = document) => from.querySelector(q);
  const all = (q, from = document) => from.querySelectorAll(q);

  // Copy buttons beside addresses.
  for (const field of all("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(field.dataset.copy);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(field);
        button.textContent = "Press Ctrl+C";
      }
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    field.after(button);
  }

  // Keys: elements with data-key are followed or focused.
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) return;
    const target = one(`[data-key="${CSS.escape(e.key)}"]`);
    if (!target) return;
    e.preventDefault();
    if (target.matches("input")) target.focus();
    else target.click();
  });

  // Forms that destroy ask first.
  for (const form of all("form[data-ask]")) {
    form.addEventListener("submit", (e) => confirm(form.dataset.ask) || e.preventDefault());
  }

  // Ranges of lines: a click sets one end, a click with shift the other. #L3-L9
  const mark = () => {
    for (const line of all(".code .on")) line.classList.remove("on");
    const m = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
    if (!m) return;
    const [a, b] = [+m[1], +(m[2] || m[1])].sort((x, y) => x - y);
    for (let n = a; n <= b && n - a < 5000; n++) one(`#L${n}`)?.classList.add("on");
    if (m[2]) one(`#L${a}`)?.scrollIntoView({ block: "center" });
  };
  if (one(".code.lines")) {
    one(".code.lines").addEventListener("click", (e) => {
      const a = e.target.closest("a[href^='#L']");
      const m = /^#L(\d+)/.exec(location.hash);
      if (!a || !e.shiftKey || !m) return;
      e.preventDefault();
      history.replaceState(null, "", `#L${m[1]}-${a.hash.slice(1)}`);
      mark();
    });
    addEventListener("hashchange", mark);
    mark();
  }

  // Live pages: state comes as HTML of our own making, log lines as text.
  const live = one("[data-live]");
  if (live) {
    const log = one("#log");
    let source, at = live.dataset.live, follow = true;
    addEventListener("scroll", () => {
      follow = innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
    }, { passive: true });
    const open = () => {
      source = new EventSource(at);
      source.addEventListener("state", (e) => { live.innerHTML = JSON.parse(e.data); });
      source.addEventListener("log", (e) => {
        if (!log) return;
        at = at.replace(/from=\d+/, `from=${e.lastEventId}`);
        one("#log-empty")?.remove();
        log.append(document.createTextNode(JSON.parse(e.data)));
        while (log.childNodes.length > 2000) log.firstChild.remove();
        if (follow) scrollTo(0, document.documentElement.scrollHeight);
      });
      source.addEventListener("end", () => { source.close(); source = null; live.removeAttribute("data-live"); });
    };
    open();
    // A hidden page holds no connection.
    document.addEventListener("visibilitychange", () => {
      if (!live.hasAttribute("data-live")) return;
      if (document.hidden) { source?.close(); source = null; } else if (!source) open();
    });
  }
})();

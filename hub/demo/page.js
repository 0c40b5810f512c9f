// Draws what the server says is on the screens. Everything people wrote is set as text, never as HTML.
const $ = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
  clearTimeout(trouble.timer);
  if (text) trouble.timer = setTimeout(() => trouble(""), 6000);
}

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => null);
  if (!answer || !answer.ok) {
    trouble(answer ? await answer.text() : "The demo does not answer: is it still running?");
    return null;
  }
  return answer;
}

// Replace a list's items, but stay at the bottom if that is where the reader was.
function fill(list, items, empty) {
  const atBottom = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.replaceChildren(...(items.length ? items : [el("li", { class: "empty" }, empty)]));
  if (atBottom) list.scrollTop = list.scrollHeight;
}

function composer(form, send) {
  const area = form.elements.text;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = area.value;
    if (!text.trim()) return;
    area.value = "";
    if (!(await send(text, form)) && !area.value) area.value = text;
    area.focus();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

// --- the customer's devices ---

const devices = new Map(); // channel → { tab, panel, list, seen, drawn }
let chosen = null;

function device(each) {
  let known = devices.get(each.channel);
  if (known) return known;
  const tab = el("button", {
    role: "tab", id: `tab-${each.channel}`, "aria-controls": `device-${each.channel}`, onclick: () => choose(each.channel),
    onkeydown: (event) => step(event, each.channel),
  }, each.title);
  const panel = el("div", {
    class: `device ${each.look}`, role: "tabpanel", id: `device-${each.channel}`, "aria-labelledby": `tab-${each.channel}`, hidden: true,
  }, el("div", { class: "address" }, each.address));
  known = { tab, panel, seen: 0, drawn: "" };
  if (each.page) {
    panel.append(el("iframe", { src: each.page, title: `${each.title}: the business's website` }));
  } else {
    known.list = el("ol", { role: "log", "aria-live": "polite", "aria-label": each.title, tabindex: 0 });
    const id = `write-${each.channel}`;
    const form = el("form", { class: "composer" },
      el("label", { for: id }, `Write by ${each.title}`),
      each.look === "mailbox" ? el("input", { name: "subject", "aria-label": "Subject", placeholder: "Subject", maxlength: 200 }) : null,
      el("textarea", { id, name: "text", rows: 2, maxlength: 2000, required: true }),
      el("button", {}, "Send"));
    composer(form, (text) => post("/write", { channel: each.channel, text, subject: form.elements.subject?.value ?? "" }));
    panel.append(known.list, form);
  }
  devices.set(each.channel, known);
  $("tabs").append(tab);
  $("devices").append(panel);
  if (!chosen) choose(each.channel);
  return known;
}

function choose(channel) {
  chosen = channel;
  for (const [name, each] of devices) {
    each.tab.setAttribute("aria-selected", name === channel);
    each.tab.tabIndex = name === channel ? 0 : -1;
    each.panel.hidden = name !== channel;
    if (name === channel && each.list) each.list.scrollTop = each.list.scrollHeight;
  }
  badge(channel, 0);
}

function step(event, channel) {
  const names = [...devices.keys()];
  const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!move) return;
  const next = names[(names.indexOf(channel) + move + names.length) % names.length];
  choose(next);
  devices.get(next).tab.focus();
}

function badge(channel, count) {
  const { tab } = devices.get(channel);
  tab.querySelector("b")?.remove();
  if (count) tab.append(el("b", { "aria-label": `${count} new` }, String(count)));
}

// Links into the customer's other apps open those; all else stays text.
const link = /(?:https:\/\/(?:wa\.me|t\.me|m\.me|ig\.me|line\.me)\/|sms:|mailto:)[^\s<>"]+/g;

function linked(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(link)) {
    parts.push(text.slice(from, found.index), el("button", { type: "button", class: "link", onclick: () => follow(found[0]) }, found[0]));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)];
}

async function follow(url) {
  const answer = await post("/open", { link: url });
  if (answer) choose((await answer.json()).channel);
}

function bubble(each, channel, offered) {
  const press = (choice) => () => post("/choose", { channel, choice });
  return el("li", { class: `bubble${each.mine ? " mine" : ""}` },
    each.subject ? el("strong", {}, each.subject) : null, ...(each.mine ? [each.text] : linked(each.text)),
    ...each.files.map((name) => el("div", {}, `📎 ${name}`)),
    each.buttons.length ? el("div", { class: "choices" }, ...each.buttons.map(({ id, title }) =>
      el("button", { type: "button", onclick: press(id), disabled: !offered }, title))) : null);
}

function drawDevices(state) {
  $("customer-title").textContent = state.person;
  for (const each of state.devices) {
    const known = device(each);
    if (!known.list) continue;
    const drawn = JSON.stringify(each.screen);
    if (drawn === known.drawn) continue;
    known.drawn = drawn;
    const offer = each.screen.findLast((one) => one.buttons.length); // apps take an answer to the newest one
    fill(known.list, each.screen.map((one) => bubble(one, each.channel, one === offer)), `Nothing yet. Write something as ${state.person}.`);
    const received = each.screen.filter((one) => !one.mine).length;
    if (each.channel === chosen) known.seen = received;
    badge(each.channel, received - known.seen);
    if (each.channel === chosen) known.seen = received;
  }
}

// --- the desk ---

let thread = null;
let drawnDesk = "";

function face(post) {
  return el("div", { class: "face", "aria-hidden": "true" }, post.icon || post.author.slice(0, 1) || "?");
}

function drawPost(post) {
  return el("li", { class: "post" }, face(post), el("div", { class: "who" }, post.author), el("div", { class: "text" }, post.text),
    el("div", { class: "marks" }, ...post.files.map((name) => el("span", {}, `📎 ${name}`)), ...post.marks.map((mark) => el("span", {}, mark))));
}

function drawDesk(state) {
  const drawn = JSON.stringify([state.desk, thread]);
  if (drawn === drawnDesk) return;
  drawnDesk = drawn;
  $("desk-title").textContent = state.desk.title;
  const threads = state.desk.threads;
  const current = threads.find((each) => each.id === thread) ?? threads.at(-1);
  const last = threads.at(-1);
  if (last && last.id !== drawDesk.last) { // a new conversation comes to the front
    drawDesk.last = thread = last.id;
    return drawDesk(state);
  }
  $("card").replaceChildren();
  if (current) {
    const choice = threads.length > 1 ? el("select", { "aria-label": "Conversation", onchange: (event) => { thread = event.target.value; drawDesk(state); } },
      ...threads.map((each, place) => el("option", { value: each.id, selected: each.id === current.id }, `Conversation ${place + 1}`))) : null;
    $("card").append(current.card.text, el("div", { class: "actions" }, choice,
      ...current.card.buttons.map((each) => el("button", { type: "button", onclick: () => post("/press", { thread: current.id, action: each.action }) }, each.label))));
  }
  fill($("posts"), current ? current.posts.map(drawPost) : [], "No conversation yet. It appears here as soon as the customer writes.");
  for (const field of $("answer").elements) field.disabled = !current;
}

composer($("answer"), (text) => post("/say", { thread: thread ?? "", text }));

// --- the timeline ---

const rows = new Map(); // message id → { node, drawn }

function time(text) {
  return new Date(text).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function drawMessage(each) {
  const arrow = { in: "←", out: "→", note: "·" }[each.direction];
  const way = each.direction === "note" ? "note" : each.via ?? each.channel;
  return [
    el("div", { class: "meta" }, `${time(each.at)} ${arrow} ${way} · ${each.author.name} `,
      el("span", { class: `state ${each.state}` }, each.state), each.reason ? ` ${each.reason}` : null),
    el("div", { class: "text" }, [each.subject, each.text].filter(Boolean).join("\n")),
  ];
}

async function explain(id, box) {
  const answer = await fetch(`/why/${id}`).catch(() => null);
  if (!answer?.ok) return box.replaceChildren("No explanation to be had: is the demo still running?");
  const found = await answer.json();
  const parts = [el("div", {}, `${found.id}, in ${found.conversation}`)];
  for (const way of found.deliveries ?? []) {
    parts.push(el("div", {}, el("strong", {}, way.kind === "contact" ? `To ${way.address} by ${way.channel}: ${way.state}` : `Shown at the desk: ${way.state}`)));
    for (const decision of way.decisions ?? []) {
      parts.push(el("div", { class: decision.verdict === "allow" ? "yes" : "no" }, `${decision.verdict}: ${decision.reason}`),
        el("ul", {}, ...(decision.checks ?? []).map((check) =>
          el("li", {}, el("span", { class: check.ok ? "yes" : "no" }, check.ok ? "✓ " : "✗ "), `${check.name}: ${check.detail}`))));
    }
    if (way.next_try_at) parts.push(el("div", {}, `Looked at again at ${time(way.next_try_at)}`));
    for (const receipt of way.receipts ?? []) parts.push(el("div", {}, `Receipt ${receipt.external_id}: ${receipt.state}`));
  }
  if (found.direction === "in") parts.push(el("div", {}, `Taken in from ${found.address} by ${found.channel}.`));
  if (found.direction === "note") parts.push(el("div", {}, "A note: it is for the team and goes to no customer."));
  box.replaceChildren(...parts);
}

function row(each) {
  const summary = el("summary");
  const box = el("div", { class: "why" });
  const node = el("li", { class: `message ${each.direction}` }, el("details", {
    ontoggle: (event) => { if (event.target.open) explain(each.id, box); },
  }, summary, box));
  return { node, summary, box, drawn: "" };
}

function drawTimeline(state) {
  const list = $("messages");
  const atBottom = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  if (!state.timeline.length && !rows.size) return fill(list, [], "Nothing yet.");
  for (const each of state.timeline) {
    let known = rows.get(each.id);
    if (!known) {
      if (!rows.size) list.replaceChildren();
      known = row(each);
      rows.set(each.id, known);
      list.append(known.node);
    }
    const drawn = JSON.stringify(each);
    if (drawn === known.drawn) continue;
    known.drawn = drawn;
    known.summary.replaceChildren(...drawMessage(each));
    if (known.node.firstChild.open) explain(each.id, known.box);
  }
  if (atBottom) list.scrollTop = list.scrollHeight;
}

const source = new EventSource("/state");
source.onopen = () => { $("line").textContent = "Running"; };
source.onerror = () => { $("line").textContent = "The demo has stopped, or is starting again …"; };
source.onmessage = (event) => {
  const state = JSON.parse(event.data);
  $("warning").textContent = state.warning;
  drawDevices(state);
  drawDesk(state);
  drawTimeline(state);
};

/* Web chat widget. Embed: <script async src="https://HOST/channels/NAME/widget.js"></script>
   Optional: data-token (visitor signed by your site), data-title, data-greeting, data-locale.
   Colour: CSS variable --chat-accent. */
(() => {
  "use strict";
  const script = document.currentScript;
  if (document.querySelector("[data-webchat]")) return; // embedded twice
  const url = script.src.replace(/\/widget\.js.*$/, "/socket").replace(/^http/, "ws");
  const files = script.src.replace(/\/widget\.js.*$/, "/files");
  const home = new URL(script.src).origin;
  const STORE = "webchat:" + url;
  const OVERLAP = 50; // shown again after a reload
  const NARROW = "(max-width:480px),(max-height:420px)"; // the panel takes the whole screen

  const WORDS = {
    en: ["Chat with us", "Open chat", "Close chat", "Conversation", "Your message", "Send", "Connecting…",
      "Offline. Your messages are kept and sent later.", "Connected", "unread", "Sending", "Sent", "Not sent",
      "Please reload this page.", "Show earlier messages", "You", "File", "Hello! How can we help?",
      "You may close this page: the answer will be here when you come back.",
      "Send a file", "File too large"],
    de: ["Chatten Sie mit uns", "Chat öffnen", "Chat schließen", "Unterhaltung", "Ihre Nachricht", "Senden", "Verbinde …",
      "Offline. Ihre Nachrichten bleiben erhalten und werden später gesendet.", "Verbunden", "ungelesen", "Wird gesendet",
      "Gesendet", "Nicht gesendet", "Bitte laden Sie diese Seite neu.", "Frühere Nachrichten zeigen", "Sie", "Datei",
      "Guten Tag! Wie können wir helfen?",
      "Sie können diese Seite schließen: Die Antwort ist hier, wenn Sie wiederkommen.",
      "Datei senden", "Datei zu groß"],
    es: ["Chatee con nosotros", "Abrir el chat", "Cerrar el chat", "Conversación", "Su mensaje", "Enviar", "Conectando…",
      "Sin conexión. Sus mensajes se guardan y se enviarán después.", "Conectado", "sin leer", "Enviando", "Enviado",
      "No enviado", "Vuelva a cargar esta página.", "Mostrar mensajes anteriores", "Usted", "Archivo",
      "¡Hola! ¿En qué podemos ayudarle?", "Puede cerrar esta página: la respuesta estará aquí cuando vuelva.",
      "Enviar un archivo", "Archivo demasiado grande"],
    fr: ["Discutez avec nous", "Ouvrir le chat", "Fermer le chat", "Conversation", "Votre message", "Envoyer",
      "Connexion…", "Hors ligne. Vos messages sont conservés et seront envoyés plus tard.", "Connecté", "non lus",
      "Envoi en cours", "Envoyé", "Non envoyé", "Veuillez recharger cette page.", "Afficher les messages précédents",
      "Vous", "Fichier", "Bonjour ! Comment pouvons-nous vous aider ?",
      "Vous pouvez fermer cette page : la réponse sera ici à votre retour.",
      "Envoyer un fichier", "Fichier trop volumineux"],
    it: ["Chatta con noi", "Apri la chat", "Chiudi la chat", "Conversazione", "Il tuo messaggio", "Invia", "Connessione…",
      "Offline. I tuoi messaggi vengono conservati e inviati più tardi.", "Connesso", "non letti", "Invio in corso",
      "Inviato", "Non inviato", "Ricarica questa pagina.", "Mostra i messaggi precedenti", "Tu", "File",
      "Ciao! Come possiamo aiutarti?", "Puoi chiudere questa pagina: al tuo ritorno troverai qui la risposta.",
      "Invia un file", "File troppo grande"],
    nl: ["Chat met ons", "Chat openen", "Chat sluiten", "Gesprek", "Uw bericht", "Versturen", "Verbinden…",
      "Offline. Uw berichten worden bewaard en later verstuurd.", "Verbonden", "ongelezen", "Wordt verstuurd", "Verstuurd",
      "Niet verstuurd", "Laad deze pagina opnieuw.", "Eerdere berichten tonen", "U", "Bestand",
      "Hallo! Hoe kunnen we u helpen?", "U kunt deze pagina sluiten: het antwoord staat hier als u terugkomt.",
      "Bestand versturen", "Bestand te groot"],
    pt: ["Fale connosco", "Abrir o chat", "Fechar o chat", "Conversa", "A sua mensagem", "Enviar", "A ligar…",
      "Sem ligação. As suas mensagens são guardadas e enviadas mais tarde.", "Ligado", "não lidas", "A enviar", "Enviada",
      "Não enviada", "Recarregue esta página.", "Mostrar mensagens anteriores", "Você", "Ficheiro",
      "Olá! Como podemos ajudar?", "Pode fechar esta página: a resposta estará aqui quando voltar.",
      "Enviar um ficheiro", "Ficheiro demasiado grande"],
  };
  const base = (tag) => tag.slice(0, 2).toLowerCase();
  const asked = script.dataset.locale || document.documentElement.lang || navigator.language || "en";
  // A page in "en" says nothing about a region: the browser knows how its user writes a time.
  const locale = asked.length > 2 ? asked : navigator.languages.find((tag) => base(tag) === base(asked)) || asked;
  const [TITLE, OPEN, CLOSE, LOG, INPUT, SEND, CONNECTING, OFFLINE, CONNECTED, UNREAD, SENDING, SENT, FAILED, RELOAD,
    EARLIER, YOU, FILE, GREETING, INTRO, ATTACH, LARGE] = WORDS[base(locale)] || WORDS.en;
  const title = script.dataset.title || TITLE;
  const dates = (kind, style) => {
    try { return new Intl[kind](locale, style); } catch { return new Intl[kind]([], style); }
  };
  const clock = dates("DateTimeFormat", { hour: "2-digit", minute: "2-digit" });
  const calendar = dates("DateTimeFormat", { weekday: "long", day: "numeric", month: "long" });
  const near = dates("RelativeTimeFormat", { numeric: "auto" });
  const dayOf = (at) => {
    const ago = Math.round((new Date().setHours(12, 0, 0, 0) - new Date(at).setHours(12, 0, 0, 0)) / 864e5);
    return ago === 0 || ago === 1 ? near.format(-ago, "day") : calendar.format(at);
  };

  // --- what outlives the page: resume token, bookmarks, unsent messages. No transcript. ---------------------------

  let memory = "{}"; // where storage is forbidden
  const load = () => {
    let text = memory;
    try { text = localStorage.getItem(STORE) || text; } catch { /* forbidden */ }
    try { text = JSON.parse(text); } catch { text = {}; }
    return { start: "0", seen: "0", outbox: [], ...text };
  };
  const change = (edit) => { // read again first: other tabs write too
    const state = load();
    edit(state);
    memory = JSON.stringify(state);
    try { localStorage.setItem(STORE, memory); } catch { /* forbidden or full */ }
    return state;
  };

  // --- the page's part: all text through textContent, all style through an adopted sheet --------------------------

  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const icon = (path) => {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(space, "path"));
    svg.firstChild.setAttribute("d", path);
    return svg;
  };
  const host = el("div", { "data-webchat": "" });
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
:host{all:initial;--accent:var(--chat-accent,#1d4ed8);--bright:var(--accent);--back:#fff;--soft:#f0f2f5;--ink:#17191e;
--dim:#5c6370;--line:#d9dde4;--bad:#c81e1e;font:15px/1.45 system-ui,sans-serif;color:var(--ink);color-scheme:light dark}
@media (prefers-color-scheme:dark){:host{--bright:color-mix(in srgb,var(--accent) 45%,#fff);--back:#17191e;--soft:#282c35;
--ink:#eceef2;--dim:#a3abba;--line:#3a404c;--bad:#ff8b8b}}
*{box-sizing:border-box}
button,textarea{font:inherit;color:inherit}
button{cursor:pointer}
:focus-visible{outline:2px solid var(--bright);outline-offset:2px}
svg{width:24px;height:24px;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round;display:block}
[hidden]{display:none!important}
#launch{position:fixed;z-index:2147483000;inset:auto 20px 20px auto;width:56px;height:56px;border:0;border-radius:50%;
background:var(--accent);color:#fff;box-shadow:0 4px 16px #0004;display:grid;place-items:center}
#launch svg{width:28px;height:28px}
#launch[aria-expanded=true] svg:first-of-type,#launch[aria-expanded=false] svg:last-of-type{display:none}
#badge{position:absolute;inset:-4px -4px auto auto;min-width:22px;padding:0 6px;border-radius:11px;background:#c81e1e;color:#fff;
font-size:13px;line-height:22px;font-weight:600;text-align:center;box-shadow:0 0 0 2px var(--back)}
#panel{position:fixed;z-index:2147483000;inset:auto 20px 88px auto;width:376px;height:min(620px,calc(100vh - 108px));
display:flex;flex-direction:column;background:var(--back);border:1px solid var(--line);border-radius:16px;overflow:hidden;
box-shadow:0 12px 40px #0003}
header{display:flex;align-items:center;gap:8px;padding:12px 8px 12px 16px;background:var(--accent);color:#fff}
h2{margin:0;flex:1;font-size:17px;font-weight:600;overflow-wrap:anywhere}
.plain{border:0;background:none;padding:8px;border-radius:50%}
.plain:hover{background:#fff3}
header :focus-visible{outline-color:#fff;outline-offset:-2px}
#state{margin:0;padding:7px 16px;font-size:13px;color:var(--ink);background:var(--soft);border-bottom:1px solid var(--line)}
#log{flex:1;overflow-y:auto;overscroll-behavior:contain;padding:16px;display:flex;flex-direction:column;gap:2px}
#log:focus-visible{outline-offset:-3px}
#intro{margin:auto;padding:24px 12px;text-align:center;color:var(--dim);text-wrap:balance}
#intro strong{display:block;margin-bottom:6px;font-size:18px;font-weight:600;color:var(--ink)}
.turn{max-width:85%;align-self:flex-start;display:flex;flex-direction:column;align-items:flex-start}
.mine{align-self:flex-end;align-items:flex-end}
.day{align-self:center;margin:10px 0 4px;font-size:12px;color:var(--dim)}
.day::first-letter{text-transform:uppercase}
.who{display:flex;align-items:center;gap:6px;margin:8px 0 4px;font-size:13px;color:var(--dim)}
.face{display:grid;place-items:center;width:24px;height:24px;border-radius:50%;background:var(--accent);color:#fff;
font-size:12px;font-weight:600;text-transform:uppercase}
.text{padding:8px 12px;border-radius:4px 16px 16px;background:var(--soft);white-space:pre-wrap;overflow-wrap:anywhere}
.mine .text{background:var(--accent);color:#fff;border-radius:16px 16px 4px}
.text a{color:inherit;text-decoration:underline}
.text:empty{display:none}
.file{display:flex;gap:8px;align-items:center;margin-top:4px;padding:8px 12px;max-width:100%;border:1px solid var(--line);
border-radius:12px;color:inherit;text-decoration:none;overflow-wrap:anywhere}
a.file:hover{background:var(--soft)}
.file svg{flex:none;width:18px;height:18px;color:var(--dim)}
.file:has(img){padding:0;border:0}
.file img{display:block;max-width:100%;max-height:260px;border-radius:12px}
.meta{margin:2px 4px 6px;font-size:12px;color:var(--dim)}
.bad{color:var(--bad)}
.choices{display:flex;flex-wrap:wrap;gap:6px;margin:8px 0 4px}
.choices button,#earlier{border:1px solid var(--bright);color:var(--bright);background:none;border-radius:18px;padding:6px 14px}
.choices button:hover:enabled,#earlier:hover{background:var(--soft)}
#earlier{align-self:center;flex:none;border-color:var(--line);color:inherit;font-size:13px}
.choices button:disabled{border-color:var(--line);color:var(--dim);cursor:default}
form{display:flex;align-items:flex-end;gap:8px;padding:10px 10px max(10px,env(safe-area-inset-bottom));
border-top:1px solid var(--line)}
textarea{flex:1;min-width:0;resize:none;height:42px;max-height:120px;padding:9px 14px;border:1px solid var(--line);
border-radius:21px;background:var(--back)}
textarea::placeholder{color:var(--dim);opacity:1}
textarea:focus-visible{outline-offset:-2px}
#send{flex:none;border:0;border-radius:50%;width:42px;height:42px;display:grid;place-items:center;background:var(--accent);color:#fff}
#attach{flex:none;width:42px;height:42px;margin:0 -4px;display:grid;place-items:center;color:var(--dim)}
#attach:hover{background:var(--soft)}
form:has(:placeholder-shown) #send{background:var(--soft);color:var(--dim)}
.hide,.joined .meta:not(.bad){position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%)}
@media ${NARROW}{#panel{inset:0 0 var(--keyboard,0) 0;width:auto;height:auto;border:0;border-radius:0}textarea{font-size:16px}
header{padding-top:max(12px,env(safe-area-inset-top))}#launch[aria-expanded=true]{display:none}}
@media (prefers-reduced-motion:no-preference){#panel{animation:rise .16s ease-out}#launch{transition:transform .12s}
#launch:hover{transform:scale(1.05)}@keyframes rise{from{opacity:0;transform:translateY(12px)}}}
@media (forced-colors:active){#launch,#send,.text,.face,header{border:1px solid}}
@media print{#panel,#launch{display:none}}`);
  root.adoptedStyleSheets = [sheet];

  const badge = el("span", { id: "badge", hidden: "", "aria-hidden": "true" });
  const launch = el("button", { id: "launch", type: "button", "aria-expanded": "false", "aria-controls": "panel" },
    icon("M21 12a8 8 0 0 1-8 8H4l2-3a8 8 0 1 1 15-5z"), icon("M6 9l6 6 6-6"), badge);
  const shut = el("button", { class: "plain", type: "button", "aria-label": CLOSE }, icon("M6 6l12 12M18 6L6 18"));
  const heading = el("h2", { id: "title" }, title);
  const status = el("p", { id: "state", role: "status" });
  const earlier = el("button", { id: "earlier", type: "button", hidden: "" }, EARLIER);
  const intro = el("p", { id: "intro" }, el("strong", {}, script.dataset.greeting || GREETING), INTRO);
  const log = el("div", { id: "log", role: "log", "aria-live": "off", "aria-label": LOG, tabindex: "0" }, earlier, intro);
  const input = el("textarea", { id: "input", rows: "1", maxlength: "4000", autocomplete: "off" });
  const send = el("button", { id: "send", "aria-label": SEND }, icon("M4 12h15M13 6l6 6-6 6"));
  const CLIP = "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 5 5l-8.5 8.5a1.7 1.7 0 0 1-2.5-2.5L15 7";
  const pick = el("input", { type: "file", multiple: "", hidden: "", "aria-label": ATTACH });
  const attach = el("button", { id: "attach", class: "plain", type: "button", "aria-label": ATTACH, title: ATTACH, hidden: "" },
    icon(CLIP));
  const form = el("form", {}, el("label", { class: "hide", for: "input" }, INPUT), attach, pick, input, send);
  const panel = el("section", { id: "panel", role: "dialog", "aria-labelledby": "title", hidden: "", lang: locale },
    el("header", {}, heading, shut), status, log, form);
  input.placeholder = INPUT;
  root.append(panel, launch);

  const linked = (text) => { // text and links as nodes; only http and https become links
    const nodes = [];
    let at = 0;
    for (const match of text.matchAll(/https?:\/\/[^\s<>"']+/gi)) {
      const raw = match[0].replace(/[.,;:!?)\]}»]+$/, "");
      let target;
      try { target = new URL(raw); } catch { continue; }
      nodes.push(text.slice(at, match.index), link(target.href, raw));
      at = match.index + raw.length;
    }
    return [...nodes, text.slice(at)];
  };
  const link = (href, label) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, label);
  const ours = (address) => {
    try { return address && new URL(address).origin === home; } catch { return false; }
  };
  const attachment = (file) => {
    const name = file.name || FILE;
    const label = [icon(CLIP), name];
    if (!ours(file.url)) return el("span", { class: "file" }, ...label);
    const anchor = link(file.url, "");
    anchor.className = "file";
    anchor.replaceChildren(...label);
    if (file.kind === "image") {
      const image = el("img", { alt: name, src: file.url, loading: "lazy" });
      image.onload = () => { anchor.replaceChildren(image); follow(); };
      image.onerror = () => anchor.replaceChildren(...label); // the page's policy may forbid images
      anchor.replaceChildren(image);
    }
    return anchor;
  };

  // Keep the newest in sight, unless the reader has scrolled up.
  let pinned = true;
  const follow = () => { if (pinned) log.scrollTop = log.scrollHeight; };
  const scrolled = () => { pinned = log.scrollHeight - log.scrollTop - log.clientHeight < 80; };
  log.addEventListener("scroll", scrolled, { passive: true });
  new ResizeObserver(follow).observe(log);
  new MutationObserver(follow).observe(log, { childList: true, subtree: true });

  const shown = new Map(); // entry id or client id → its parts on the page
  let above = null; // the parts of the turn shown last
  const turn = (key, mine, who, text, when) => {
    const at = clock.format(when);
    const day = dayOf(when);
    if (!above || above.day !== day) log.append(el("div", { class: "day" }, day));
    const same = above && above.day === day && above.mine === mine && above.who === who;
    if (same && above.at === at) above.node.classList.add("joined"); // one time under both
    const meta = el("div", { class: "meta" });
    const body = el("div", { class: "text" }, ...linked(text));
    const node = el("div", { class: mine ? "turn mine" : "turn" });
    if (mine) node.append(el("span", { class: "hide" }, YOU + ":"));
    else if (who && !same) {
      const face = el("span", { class: "face", "aria-hidden": "true" }, String.fromCodePoint(who.codePointAt(0)));
      node.append(el("div", { class: "who" }, face, who));
    }
    node.append(body, meta);
    intro.hidden = true;
    if (mine) pinned = true;
    log.append(node);
    above = { node, body, meta, mine, who, day, at };
    shown.set(key, above);
    return above;
  };
  const mark = (parts, word, sign, bad) => {
    parts.meta.classList.toggle("bad", !!bad);
    parts.meta.replaceChildren(parts.at + " ", el("span", { role: "img", "aria-label": word, title: word }, sign));
  };
  const choices = (parts, buttons) => {
    const row = el("div", { class: "choices" });
    for (const { id, title: label } of buttons) {
      const button = el("button", { type: "button" }, label);
      button.onclick = () => {
        for (const other of row.children) other.disabled = true;
        input.focus();
        write(label, { id, title: label });
      };
      row.append(button);
    }
    parts.body.after(row);
  };

  // --- the conversation -------------------------------------------------------------------------------------------

  let socket = null;
  let ready = false; // the history has been shown
  let wait = 1000; // next pause before connecting again, in ms
  let retry = 0;
  let watch = 0;
  let last = "0"; // newest entry of theirs
  let unread = 0;
  let sending = null; // client id of the one message under way
  let blocked = false; // the page's token is not good any more
  let visitor = null;
  let from = "0"; // what is on the page begins after this entry
  let all = false; // earlier messages were asked for
  let later = 0;
  const ids = [];

  let ticket = null; // lets files in; renewed at each connection
  let largest = 0; // bytes of one

  const say = (frame) => socket && socket.readyState === 1 && socket.send(JSON.stringify(frame));
  const tell = (text) => { status.textContent = text; status.hidden = text === CONNECTED; };

  const count = () => {
    badge.textContent = unread > 99 ? "99+" : unread;
    badge.hidden = !unread;
    launch.setAttribute("aria-label", panel.hidden ? OPEN + (unread ? `, ${unread} ${UNREAD}` : "") : CLOSE);
  };
  const look = () => { // what is on the screen counts as read; the rest has arrived
    if (!ready) return;
    const visible = !panel.hidden && !document.hidden;
    if (visible) {
      unread = 0;
      count();
      if (last > load().seen) change((state) => { state.seen = last; });
    }
    clearTimeout(later);
    if (last > "0") later = setTimeout(say, 100, visible ? { type: "seen", id: last } : { type: "got", upto: last });
  };

  const flush = () => { // one at a time keeps the order
    if (!ready || sending) return;
    clearTimeout(watch);
    const next = load().outbox[0];
    if (!next) return;
    sending = next.id;
    say({ type: "message", ...next });
    watch = setTimeout(cut, 20000, socket); // no answer: the line is dead
  };
  const settle = (id) => {
    change((state) => { state.outbox = state.outbox.filter((message) => message.id !== id); });
    if (sending === id) sending = null;
    flush();
  };
  const unique = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const write = (raw, selection) => {
    const text = raw.trim().replace(/[\ud800-\udfff]/gu, "\ufffd");
    if (!text) return;
    const message = { id: unique(), text };
    if (selection) message.selection = selection;
    change((state) => { state.outbox.push(message); });
    mark(turn(message.id, true, null, text, new Date()), SENDING, "…");
    flush();
    if (!socket) connect();
  };

  const upload = async (file) => { // one file is one message; it is tried again, but not after the page is gone
    const id = unique();
    const parts = turn(id, true, null, "", new Date());
    parts.body.after(attachment({ name: file.name }));
    if (file.size > largest) return mark(parts, LARGE, "⚠ " + LARGE, true);
    mark(parts, SENDING, "…");
    for (let tries = 1; tries < 6; tries += 1) {
      const body = new FormData();
      for (const [name, value] of [["ticket", ticket], ["id", id], ["file", file]]) body.append(name, value);
      let code = 0;
      try { code = (await fetch(files, { method: "POST", body, credentials: "omit" })).status; } catch { /* no line */ }
      if (code === 200) return mark(parts, SENT, "✓");
      if (code === 413) return mark(parts, LARGE, "⚠ " + LARGE, true);
      if (code === 401 && socket) cut(socket); // the next connection brings a new ticket
      if (code === 400 || code === 403) break;
      await new Promise((done) => setTimeout(done, 1500 * tries));
    }
    mark(parts, FAILED, "⚠ " + FAILED, true);
  };
  const uploads = (list) => {
    if (largest) for (const file of list) upload(file);
    return largest && list.length > 0;
  };

  const bookmark = () => { // where a reload begins
    const start = ids.sort()[ids.length - OVERLAP];
    if (start) change((state) => { if (start > state.start) state.start = start; });
  };

  const RECEIVE = {
    welcome(frame) {
      const before = load();
      const other = before.visitor !== frame.visitor;
      if (other && frame.session && before.session && before.session !== socket.said) return cut(socket); // another tab won
      change((state) => {
        state.session = frame.session; // none for whoever is logged in: what they said before is theirs now
        if (!other) return;
        // Never send one user's unsent words as another's; an anonymous visitor may log in.
        if ((state.visitor || "").startsWith("u-")) state.outbox = [];
        Object.assign(state, { visitor: frame.visitor, start: "0", seen: "0" });
      });
      input.maxLength = frame.limit;
      ticket = frame.ticket;
      largest = frame.file_size;
      attach.hidden = !largest;
      if (visitor && visitor !== frame.visitor) forget();
      visitor = frame.visitor;
      if (other && socket.after !== "0") cut(socket); // the bookmark was somebody else's
    },
    entry(frame) {
      if (shown.has(frame.id)) return;
      const mine = frame.from === "me";
      let parts = frame.client && shown.get(frame.client);
      if (!parts) {
        parts = turn(frame.client || frame.id, mine, frame.author, frame.text, new Date(frame.at));
        if (frame.attachments.length) parts.body.after(...frame.attachments.map(attachment));
        if (frame.buttons.length && !mine) choices(parts, frame.buttons);
      }
      shown.set(frame.id, parts);
      ids.push(frame.id);
      if (ready) bookmark();
      if (mine) {
        mark(parts, SENT, "✓");
        if (frame.client) settle(frame.client);
      } else {
        parts.meta.textContent = parts.at;
        if (frame.id > last) last = frame.id;
        if (frame.id > load().seen) unread += 1;
        count();
        look();
      }
    },
    ready() {
      ready = true;
      wait = 1000;
      tell(CONNECTED);
      log.setAttribute("aria-live", "polite");
      bookmark();
      earlier.hidden = from === "0";
      for (const message of load().outbox) {
        if (!shown.has(message.id)) mark(turn(message.id, true, null, message.text, new Date()), SENDING, "…");
      }
      look();
      flush();
    },
    ack(frame) {
      const parts = shown.get(frame.id);
      if (parts) mark(parts, SENT, "✓");
      settle(frame.id);
    },
    error(frame) {
      const parts = frame.id && shown.get(frame.id);
      if (frame.after) { // the same frame again, later
        clearTimeout(watch);
        watch = setTimeout(() => { sending = null; flush(); }, frame.after * 1000);
      } else if (frame.id) {
        if (parts) mark(parts, FAILED, "⚠ " + FAILED, true);
        settle(frame.id);
      }
    },
  };

  const forget = () => {
    shown.clear();
    ids.length = 0;
    above = null;
    last = "0";
    unread = 0;
    log.replaceChildren(earlier, intro);
    intro.hidden = false;
    count();
  };

  let silence = 0;
  const connect = () => {
    if (socket || blocked) return;
    clearTimeout(retry);
    if (status.textContent !== OFFLINE) tell(CONNECTING); // each try would be announced
    ready = false;
    sending = null;
    const state = load();
    const token = script.dataset.token || null;
    const mine = socket = new WebSocket(url);
    mine.said = state.session;
    if (!ids.length) from = all ? "0" : state.start;
    mine.after = ids[ids.length - OVERLAP] || from;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(cut, 60000, mine); // a tick comes every 25 s
    };
    alive();
    mine.onopen = () => say({ type: "hello", session: state.session || null, token, after: mine.after });
    mine.onmessage = (event) => {
      if (socket !== mine) return;
      alive();
      const frame = JSON.parse(event.data);
      if (Object.hasOwn(RECEIVE, frame.type)) RECEIVE[frame.type](frame);
    };
    mine.onclose = (event) => lost(mine, event.code, token);
  };
  const cut = (dead) => { // a dead line answers no close: do not wait for it
    dead.close();
    lost(dead);
  };
  const lost = (gone, code, token) => {
    if (socket !== gone) return;
    socket = null;
    ready = false;
    clearTimeout(silence);
    clearTimeout(watch);
    log.setAttribute("aria-live", "off");
    if (code === 4401 || code === 4403) {
      if (token) { // the page has to bring a new one; see the observer below
        blocked = true;
        return tell(RELOAD);
      }
      change((state) => { if (state.session === gone.said) state.session = null; });
    }
    tell(OFFLINE);
    retry = setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, 60000);
  };

  const toggle = (open) => {
    panel.hidden = !open;
    launch.setAttribute("aria-expanded", open);
    count();
    if (!open) return launch.focus();
    connect();
    pinned = true;
    follow();
    input.focus();
    look();
  };
  launch.onclick = () => toggle(panel.hidden);
  shut.onclick = () => toggle(false);
  const narrow = matchMedia(NARROW);
  panel.onkeydown = (event) => {
    if (event.key === "Escape") { event.stopPropagation(); toggle(false); }
    if (event.key !== "Tab" || !narrow.matches) return;
    const [first, end] = event.shiftKey ? [shut, send] : [send, shut]; // nothing of the page is in sight: stay inside
    if (root.activeElement === first) { event.preventDefault(); end.focus(); }
  };
  if (window.visualViewport) visualViewport.addEventListener("resize", () => { // a phone's keyboard covers the page
    const covered = innerHeight - visualViewport.height - visualViewport.offsetTop;
    panel.style.setProperty("--keyboard", Math.max(0, Math.round(covered)) + "px");
  });
  earlier.onclick = () => {
    all = true;
    forget();
    log.focus();
    wait = 100;
    socket ? cut(socket) : connect();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    write(input.value);
    input.value = "";
    input.oninput();
    input.focus();
  };
  attach.onclick = () => pick.click();
  pick.onchange = () => { uploads(pick.files); pick.value = ""; input.focus(); };
  input.onpaste = (event) => { if (uploads(event.clipboardData.files)) event.preventDefault(); };
  panel.ondragover = (event) => { if (largest && event.dataTransfer.types.includes("Files")) event.preventDefault(); };
  panel.ondrop = (event) => { if (uploads(event.dataTransfer.files)) event.preventDefault(); };
  let typed = 0;
  input.oninput = () => {
    input.style.height = "";
    input.style.height = Math.min(input.scrollHeight + 2, 120) + "px";
    if (input.value && Date.now() - typed > 4000 && ready) {
      typed = Date.now();
      say({ type: "typing" });
    }
  };
  input.onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("online", () => { wait = 1000; connect(); });
  new MutationObserver(() => { blocked = false; connect(); }).observe(script, { attributeFilter: ["data-token"] });

  count();
  tell(CONNECTING);
  const start = () => {
    document.body.append(host);
    // Nobody who never opens the chat is connected or remembered.
    if (script.dataset.token || load().session || load().outbox.length) connect();
    const [page, hash] = document.URL.split("#");
    const [, token] = /^chat=([\w-]{1,64})$/.exec(hash) || [];
    if (!token) return;
    history.replaceState(history.state, "", page);
    toggle(true);
    input.value = `Hi! (${token})`; // a conversation goes on here: the first message carries the link's token
    input.oninput();
  };
  document.body ? start() : addEventListener("DOMContentLoaded", start);
})();

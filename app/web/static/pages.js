// What the pages do beyond plain forms and links: a clock, parts that are fetched, a training that is watched.
// Everything works without it. Elements say by data- attributes what they want.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const root = new URL("..", import.meta.url).pathname;
if (zone) document.cookie = `zone=${zone};path=${root};max-age=31536000;samesite=lax`;

/** Fetch a page of ours and take one element from it. */
async function part(url, id) {
  const answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.getElementById(id);
}

// <details data-fetch="/path" data-part="id">: filled when it is opened first.
function fetchWhenOpened(details) {
  details.addEventListener("toggle", async () => {
    const place = details.querySelector("[data-place]");
    if (!details.open || !place || place.dataset.done) return;
    place.dataset.done = "yes";
    try {
      place.replaceChildren(await part(details.dataset.fetch, details.dataset.part));
    } catch {
      delete place.dataset.done; // the link inside still leads there
    }
  });
}

// <section id="x" data-poll="/path">: while it says so, fetched anew when the service tells that something has changed;
// what it says is read out then. How far a step has come is told by the event itself.
function follow(section) {
  const source = new EventSource(`${root}events`);
  let known;
  source.addEventListener("training", async (event) => {
    const { run, last_run, counter, is_paused } = JSON.parse(event.data);
    const { step, epoch, epochs } = run?.progress ?? {};
    const state = JSON.stringify([run?.id, step, last_run?.id, counter.since_training, is_paused]);
    const bar = section.querySelector("progress");
    if (state === known) {
      if (bar && epoch && epochs) Object.assign(bar, { max: 1, value: epoch / epochs });
      return;
    }
    known = state;
    try {
      await renew(section);
      if (!section.dataset.poll) source.close();
    } catch {
      known = null; // the service may be starting again: the next event tries once more
    }
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) watch(section); // as many listen as may
  });
}

async function renew(section) {
  const fresh = await part(section.dataset.poll, section.id);
  if (!fresh) return;
  if (fresh.innerHTML !== section.innerHTML) section.innerHTML = fresh.innerHTML;
  if (!fresh.dataset.poll) section.removeAttribute("data-poll");
}

// The same where nothing is told: fetched again and again.
function watch(section) {
  const every = Number(section.dataset.every || 1000);
  setTimeout(async () => {
    if (document.hidden) return watch(section);
    try {
      await renew(section);
      if (!section.dataset.poll) return;
    } catch {
      section.dataset.every = Math.min(every * 2, 15000); // the service may be starting again
    }
    watch(section);
  }, every);
}

// <section data-clock="task" data-still="300">: a clock that its button sets going. It stands still while the page is
// out of sight; what lies between, and a long time without a key or a touch, is asked about. Who works on paper says once
// that it counts: what is no longer than the task may take counts by itself from then on. All windows share it.
function clock(section) {
  const key = `clock ${section.dataset.clock}`, still = 1000 * section.dataset.still;
  const find = (name) => section.querySelector(`[data-${name}]`);
  const start = find("start"), shown = find("shown"), again = find("again"), question = find("away");
  const button = start.querySelector("button"), answer = find("answer"), field = answer.elements.seconds;
  const begin = button.textContent;
  let unkept = null; // where the browser keeps nothing
  let returned = true; // what passed since somebody last looked was not seen

  function read() {
    try { return JSON.parse(localStorage.getItem(key)) ?? fresh(); } catch { return unkept ?? fresh(); }
  }
  function fresh() {
    return { runs: false, counted: 0, still: 0, away: 0, seen: Date.now(), typed: "" };
  }
  // Somebody is there: the time since they last were counts, if that was not long ago.
  function settle(state) {
    state[state.still > still ? "away" : "counted"] += state.still;
    state.still = 0;
  }
  // Read the clock, add the time since it was read last, change it, keep it and show it.
  function pass(change = () => {}) {
    const state = read(), now = Date.now(), gap = Math.max(now - state.seen, 0), slept = gap > AWAY_MS;
    if (state.runs && !slept && !returned) state.still += gap;
    if (state.runs && slept) { settle(state); state[state.onPaper && gap <= still ? "counted" : "away"] += gap; }
    returned = false;
    state.seen = now;
    change(state);
    try { localStorage.setItem(key, JSON.stringify(state)); } catch { unkept = state; }
    return show(state);
  }
  function show({ runs, counted, still: quiet, away, typed }) {
    const now = quiet > still ? counted : counted + quiet, asked = quiet > still ? away + quiet : away;
    const told = question.dataset.away.replace("%(time)s", spoken(asked / 1000)), line = question.querySelector("p");
    shown.hidden = again.hidden = !runs && !now;
    shown.textContent = colons(now / 1000);
    button.textContent = runs ? button.dataset.pause : now ? button.dataset.go : begin;
    button.classList.toggle("quiet", runs);
    question.hidden = !asked;
    if (line.textContent !== told) line.textContent = told;
    return { begun: runs || now > 0, seconds: (now / 1000).toFixed(1), asked, typed };
  }
  start.addEventListener("submit", (event) => {
    event.preventDefault();
    pass((state) => { settle(state); state.runs = !state.runs; });
  });
  again.addEventListener("click", () => pass((state) => Object.assign(state, fresh(), { runs: true, typed: state.typed })));
  find("count").addEventListener("click", () => pass((state) => { state.counted += state.away; state.away = 0; state.onPaper = true; }));
  find("drop").addEventListener("click", () => pass((state) => { state.away = 0; state.onPaper = false; }));
  field.addEventListener("input", () => pass((state) => { state.typed = field.value; }));
  answer.addEventListener("submit", (event) => {
    const { begun, seconds, asked } = pass(settle);
    answer.elements.clock.value = begun ? seconds : "";
    if (!asked || field.value.trim()) return pass((state) => { state.runs = false; });
    event.preventDefault();
    event.stopImmediatePropagation();
    find("count").focus();
  });
  let acted = 0;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
    addEventListener(kind, () => {
      if (Date.now() - acted < 1000) return;
      acted = Date.now();
      pass(settle);
    }, { passive: true });
  }
  document.addEventListener("visibilitychange", () => { pass(); returned = document.hidden; });
  setInterval(() => { if (!document.hidden) pass(); }, 250);
  field.value ||= pass().typed;
  try { forget(); } catch { /* the browser keeps nothing */ }
}

// Clocks that nobody has looked at for a week go.
function forget() {
  for (const name of Object.keys(localStorage).filter((each) => each.startsWith("clock "))) {
    if (Date.now() - JSON.parse(localStorage.getItem(name)).seen > 7 * 86400e3) localStorage.removeItem(name);
  }
}

const AWAY_MS = 10_000; // shorter, and nobody is asked
const two = (number) => String(number).padStart(2, "0");

/** 0:42, 1:02:03 */
function colons(seconds) {
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** 42 s, 12 min, 1 h 10 min */
function spoken(seconds) {
  const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const parts = hours ? [[hours, "h"], [minutes, "min"]] : minutes > 1 ? [[minutes, "min"]] : [[whole, "s"]];
  return parts.filter(([number]) => number).map((part) => part.join(" ")).join(" ");
}

// A form is sent once, however often the button is pressed.
function once(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => { delete form.dataset.sent; }); // back by the browser's own button
}

// <select> in the foot: applied at once.
function applied(select) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

document.querySelectorAll("details[data-fetch]").forEach(fetchWhenOpened);
document.querySelectorAll("[data-poll]").forEach(window.EventSource ? follow : watch);
document.querySelectorAll("[data-clock]").forEach(clock);
document.querySelectorAll("form[method=post]").forEach(once);
document.querySelectorAll("footer select").forEach(applied);

// What the pages do beyond plain forms and links: a timer, parts that are fetched, a training that is watched.
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

// <div data-timer="task" data-for="seconds">: counts since the task was first seen, and fills the field until it is edited.
function time(box) {
  const field = document.getElementById(box.dataset.for);
  const shown = box.querySelector("[data-shown]");
  const pause = box.querySelector("[data-pause]");
  const again = box.querySelector("[data-again]");
  const key = `timer ${box.dataset.timer}`;
  let state = read() || { before: 0, since: Date.now() };
  let edited = false;

  function read() {
    try { return JSON.parse(sessionStorage.getItem(key)); } catch { return null; }
  }
  function keep() {
    try { sessionStorage.setItem(key, JSON.stringify(state)); } catch { /* a private window: it counts from now */ }
  }
  function seconds() {
    return state.before + (state.since ? (Date.now() - state.since) / 1000 : 0);
  }
  function show() {
    const now = seconds(), whole = Math.floor(now);
    shown.textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    if (!edited && document.activeElement !== field) field.value = Math.max(now, 0.1).toFixed(1);
    pause.textContent = state.since ? pause.dataset.pause : pause.dataset.go;
  }
  field.addEventListener("input", () => { edited = field.value !== ""; });
  pause.addEventListener("click", () => {
    state = state.since ? { before: seconds(), since: null } : { before: state.before, since: Date.now() };
    keep(); show();
  });
  again.addEventListener("click", () => { state = { before: 0, since: Date.now() }; edited = false; keep(); show(); });
  field.form.addEventListener("submit", () => { if (!edited) field.value = Math.max(seconds(), 0.1).toFixed(1); });
  box.hidden = false;
  keep(); show();
  setInterval(show, 250);
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
document.querySelectorAll("[data-timer]").forEach(time);
document.querySelectorAll("form[method=post]").forEach(once);
document.querySelectorAll("footer select").forEach(applied);

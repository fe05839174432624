"use strict";
// One question at a time. Order of screens and of videos is drawn for each rater; answers are kept in this browser
// until they are saved to a file. Nothing here knows which system made a video.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const MEMORY = `study ${data.study}`;
const shelf = {  // some browsers refuse to keep anything for a page from disk: then answers live as long as the page
  read() { try { return JSON.parse(localStorage.getItem(MEMORY)); } catch { return null; } },
  write(value) { try { localStorage.setItem(MEMORY, JSON.stringify(value)); return true; } catch { return false; } },
  clear() { try { localStorage.removeItem(MEMORY); } catch { /* nothing was kept */ } },
};

// Random numbers from a seed (mulberry32), so that a page that was closed goes on in the same order.
const generator = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
};
const shuffled = (list, random) => {
  const made = [...list];
  for (let i = made.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [made[i], made[j]] = [made[j], made[i]];
  }
  return made;
};
const newRater = () => {
  const drawn = crypto.getRandomValues(new Uint32Array(5));
  return {
    rater: [...drawn.slice(1)].map((n) => n.toString(16).padStart(8, "0")).join(""), seed: drawn[0],
    started: new Date().toISOString(), finished: null, place: 0, answers: {},
  };
};
const known = shelf.read();
let state = known && known.answers && known.rater ? known : newRater();
let screens = [], shown = null, since = 0, running = true;

const order = () => {
  const random = generator(state.seed);
  const kinds = ["pick", "judge"].map((kind) => data.screens.filter((screen) => screen.kind === kind));
  screens = kinds.flatMap((list) => shuffled(list, random)).map((screen) => (
    { ...screen, options: shuffled(screen.options, random) }
  ));
};
const keep = () => {
  at("memory").textContent = shelf.write(state) ? "" : "This browser keeps nothing for this page: answer all in one go.";
};
const show = (id) => { for (const part of ["intro", "form", "done"]) at(part).hidden = part !== id; };
const progress = () => {
  const count = Object.keys(state.answers).length;
  at("progress").textContent = `${count} of ${screens.length} answered`;
  at("bar").value = count / screens.length;
};

const videoOf = (token, name) => {
  const video = document.createElement("video");
  Object.assign(video, { src: data.clips[token], muted: true, loop: true, playsInline: true, preload: "auto" });
  video.disablePictureInPicture = true;
  video.setAttribute("aria-label", name);
  return video;
};
const choiceOf = (value, words, video) => {
  const label = document.createElement("label"), input = document.createElement("input");
  label.className = video ? "option" : "option choice";
  Object.assign(input, { type: "radio", name: "chosen", value, required: true });
  if (video) label.append(video);
  label.append(input, words);
  return label;
};
const draw = () => {
  shown = screens[state.place];
  const asked = data.criteria[shown.criterion], input = data.inputs[shown.input];
  at("question").textContent = asked.asked;
  at("explained").textContent = asked.explained;
  at("picture").src = input.picture;
  at("prompt").textContent = input.prompt;
  const parts = [];
  if (shown.kind === "pick") {
    shown.options.forEach((token, n) => {
      const name = `Video ${n + 1}`;
      parts.push(choiceOf(token, name, videoOf(token, name)));
    });
  } else {
    const alone = document.createElement("div");
    alone.className = "alone";
    alone.append(videoOf(shown.options[0], "The video"));
    parts.push(alone, choiceOf("yes", "1: Yes"), choiceOf("no", "2: No"));
  }
  at("options").replaceChildren(...parts);
  const before = state.answers[shown.id];
  for (const input of choices()) input.checked = Boolean(before) && input.value === before.chosen;
  at("back").disabled = state.place === 0;
  since = performance.now();
  progress();
  together();
  at("question").focus();
};
const choices = () => [...at("options").querySelectorAll("input")];
const videos = () => [...at("options").querySelectorAll("video")];
const together = () => {  // all videos of a screen start at once, when all are there
  at("play").textContent = running ? "Stop" : "Play";
  const mine = videos();
  const ready = mine.map((video) => video.readyState >= 3 ? null : new Promise((go) => { video.oncanplay = go; video.onerror = go; }));
  Promise.all(ready).then(() => {
    for (const video of mine) {
      if (!running) { video.pause(); continue; }
      video.currentTime = 0;
      video.play().catch(() => {});
    }
  });
};
const store = () => {
  const chosen = choices().find((input) => input.checked);
  if (!chosen) return false;
  const before = state.answers[shown.id];
  state.answers[shown.id] = {
    chosen: chosen.value, position: choices().indexOf(chosen),
    seconds: Math.round(100 * ((before ? before.seconds : 0) + (performance.now() - since) / 1000)) / 100,
  };
  since = performance.now();
  return true;
};
const forward = () => {
  if (!store()) { at("form").reportValidity(); return; }
  const next = screens.findIndex((screen, n) => n > state.place && !state.answers[screen.id]);
  const left = next < 0 ? screens.findIndex((screen) => !state.answers[screen.id]) : next;
  if (left < 0) { finish(); return; }
  const following = screens[state.place + 1];  // after "Back", through the answered ones as they were
  state.place = following && state.answers[following.id] ? state.place + 1 : left;
  keep();
  draw();
};
const result = () => JSON.stringify({
  format: "i2v-bench study answers", version: 1, study: data.study, rater: state.rater, seed: state.seed,
  started: state.started, finished: state.finished,
  answers: screens.map((screen) => ({ screen: screen.id, ...state.answers[screen.id] })),
}, null, 1);
const finish = () => {
  state.finished = new Date().toISOString();
  keep();
  progress();
  const text = result();
  at("text").value = text;
  at("save").download = `answers-${state.rater.slice(0, 8)}.json`;
  at("save").href = `data:application/json;charset=utf-8,${encodeURIComponent(text)}`;
  show("done");
  at("thanks").focus();
};
const start = () => {
  order();
  if (screens.every((screen) => state.answers[screen.id])) { finish(); return; }
  show("form");
  draw();
};

at("begin").addEventListener("click", start);
at("anew").addEventListener("click", () => {
  shelf.clear();
  state = newRater();
  at("anew").hidden = true;
  start();
});
at("form").addEventListener("submit", (event) => { event.preventDefault(); forward(); });
at("back").addEventListener("click", () => { store(); state.place = Math.max(0, state.place - 1); keep(); draw(); });
at("review").addEventListener("click", () => { state.place = screens.length - 1; show("form"); draw(); });
at("play").addEventListener("click", () => { running = !running; together(); });
at("save").addEventListener("click", () => { at("saved").textContent = `Saved as ${at("save").download}, in your downloads.`; });
addEventListener("keydown", (event) => {
  if (at("form").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const number = Number(event.key);
  if (number >= 1 && number <= choices().length) {
    const chosen = choices()[number - 1];
    chosen.checked = true;
    chosen.focus();
  } else if (event.key.toLowerCase() === "p") {
    at("play").click();
  } else if (event.key === "Enter" && !["BUTTON", "INPUT", "SUMMARY"].includes(event.target.tagName)) {
    forward();
  } else return;
  event.preventDefault();
});
if (matchMedia("(prefers-reduced-motion: reduce)").matches) running = false;
order();
progress();
if (Object.keys(state.answers).length) {
  at("begin").textContent = "Go on";
  at("anew").hidden = false;
}

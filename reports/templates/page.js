"use strict";
// One clock per grid of samples: every video shows the frame that the slider names.
for (const grid of document.querySelectorAll("[data-grid]")) {
  const videos = [...grid.querySelectorAll("video")];
  const frames = Number(grid.dataset.frames), rate = Number(grid.dataset.rate);
  const play = grid.querySelector("[data-play]"), slider = grid.querySelector("[data-slider]");
  const output = grid.querySelector("output");
  const leader = videos[0];
  let playing = false, seen = false, last = 0;
  const frameOf = (time) => Math.min(frames - 1, Math.max(0, Math.floor(time * rate + 0.01)));
  const show = (frame) => {
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `frame ${frame + 1} of ${frames}`);
    output.textContent = `${frame + 1} / ${frames}`;
  };
  const seek = (time) => { for (const video of videos) video.currentTime = time; };
  const begin = () => {
    for (const video of videos) if (video.preload !== "auto") { video.preload = "auto"; video.load(); }
  };
  const set = (on) => {
    playing = on;
    play.textContent = on ? "Pause" : "Play";
    if (on) begin();
    for (const video of videos) on ? video.play().catch(() => {}) : video.pause();
    if (on) requestAnimationFrame(tick);
  };
  const difference = () => {
    for (const sample of grid.querySelectorAll(".sample")) {
      const real = sample.querySelector("video[data-real]");
      if (!real || real.readyState < 2) continue;
      for (const canvas of sample.querySelectorAll("canvas")) {
        const video = canvas.parentNode.querySelector("video"), pen = canvas.getContext("2d");
        if (!video || video.readyState < 2) continue;
        pen.globalCompositeOperation = "copy";
        pen.drawImage(video, 0, 0, canvas.width, canvas.height);
        pen.globalCompositeOperation = "difference";
        pen.drawImage(real, 0, 0, canvas.width, canvas.height);
      }
    }
  };
  const tick = () => {
    if (!playing || !leader) return;
    const now = leader.currentTime;
    for (const video of videos) {  // loops drift apart by a little: bring stragglers back when the leader starts over
      if (now < last && video !== leader && Math.abs(video.currentTime - now) > 0.75 / rate) video.currentTime = now;
    }
    last = now;
    show(frameOf(now));
    if (grid.dataset.view === "difference") difference();
    requestAnimationFrame(tick);
  };
  play.addEventListener("click", () => set(!playing));
  slider.addEventListener("input", () => {
    const frame = Number(slider.value);
    if (playing) set(false);
    begin();
    seek((frame + 0.5) / rate);
    show(frame);
  });
  for (const video of videos) video.addEventListener("seeked", () => { if (!playing && grid.dataset.view === "difference") difference(); });
  for (const radio of grid.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => { grid.dataset.view = radio.value; begin(); difference(); });
  }
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  new IntersectionObserver((entries) => {
    const visible = entries.some((entry) => entry.isIntersecting);
    if (visible && !seen) { seen = true; calm ? begin() : set(true); } else if (!visible && playing) set(false);
  }).observe(grid);
  show(0);
}

// A pressed name in a legend brings out its lines.
for (const button of document.querySelectorAll("[data-lights]")) {
  button.addEventListener("click", () => {
    const figure = button.closest("figure"), on = button.getAttribute("aria-pressed") !== "true";
    for (const other of figure.querySelectorAll("[data-lights]")) other.setAttribute("aria-pressed", String(on && other === button));
    figure.classList.toggle("lit", on);
    for (const mark of figure.querySelectorAll(".panels .line, .panels .dot")) {
      const wanted = button.dataset.lights.split(" ");
      const dashed = [...mark.classList].filter((name) => /^d\d$/.test(name)).join();
      mark.classList.toggle("on", mark.classList.contains(wanted[0]) && dashed === wanted.slice(1).join());
    }
  });
}

// Paper shows everything that is folded on the screen, except what only a machine reads.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([data-long])")) part.open = true;
});

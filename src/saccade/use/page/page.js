// The page: pictures in, answers out. What was shown lives in this tab's memory and nowhere else.
import { ask, element, form, percent, Problem } from "./parts.js";

const at = (id) => document.getElementById(id);
const MOST_SHOWN = 60;
const TOP = 5;
const entries = [];
let current = null;
let explains = false;

// --- the model ---------------------------------------------------------------------------------------------------

async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname); // it must not stay in the address
    await signIn(token).catch(() => {});
  }
  try {
    showModel(await (await ask("/v1/model")).json());
  } catch (problem) {
    if (problem.status === 401) at("token-dialog").showModal();
    else complain(problem);
  }
}

async function signIn(token) {
  await ask("/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

function showModel(model) {
  explains = model.explains;
  at("title").textContent = model.name;
  at("subtitle").textContent = `${model.architecture} · ${model.class_names.length} classes`;
  document.title = `${model.name} · saccade`;
  at("report").hidden = !model.report;
  at("model").textContent = model.model;
  at("classes").start = 0;
  at("classes").replaceChildren(...model.class_names.map((name) => element("li", "", name)));
}

at("enter").addEventListener("click", async () => {
  try {
    await signIn(at("token").value.trim());
    at("token-dialog").close();
    await begin();
  } catch {
    at("token-wrong").hidden = false;
    at("token").focus();
  }
});
at("token").addEventListener("keydown", (event) => event.key === "Enter" && at("enter").click());
at("token-dialog").addEventListener("cancel", (event) => event.preventDefault());

// --- pictures in -------------------------------------------------------------------------------------------------

at("choose").addEventListener("click", () => at("files").click());
for (const id of ["files", "shot"]) {
  at(id).addEventListener("change", () => {
    add([...at(id).files]);
    at(id).value = "";
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) add(files);
});

async function add(files) {
  at("notice").hidden = true;
  const made = files.map((file) => ({ file, url: URL.createObjectURL(file), heat: null, view: "plain" }));
  for (const entry of made) remember(entry);
  if (made.length) show(made[0]);
  for (const entry of made) await predict(entry); // in turn: other people's pictures have room between ours
}

async function predict(entry) {
  busy(entry, true);
  try {
    const answer = await (await ask(`/v1/predict?top=${TOP}`, form(entry.file))).json();
    Object.assign(entry, { row: answer.predictions[0], model: answer.model });
    if (at("model").textContent !== answer.model) begin();
  } catch (problem) {
    const reason = problem instanceof Problem ? problem.reason : "unreachable";
    const detail = problem instanceof Problem ? problem.message : "the server cannot be reached";
    entry.row = problem.row ?? { guesses: [], reason, detail };
    if (problem.status === 401) at("token-dialog").showModal();
  }
  busy(entry, false);
  listEntries();
  if (entry === current) show(entry);
  say(inWords(entry));
}

// --- the camera --------------------------------------------------------------------------------------------------

let stream = null;
at("camera").addEventListener("click", async () => {
  if (!navigator.mediaDevices?.getUserMedia) return at("shot").click(); // over plain http phones offer their own
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return error.name === "NotFoundError" ? at("shot").click() : complain({ message: `the camera cannot be used: ${error.message}` });
  }
  at("video").srcObject = stream;
  await at("video").play();
  at("camera-dialog").showModal();
});
at("take").addEventListener("click", () => {
  const video = at("video");
  const canvas = element("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => blob && add([new File([blob], "camera.jpg", { type: blob.type })]), "image/jpeg", 0.95);
  at("camera-dialog").close();
});
at("leave").addEventListener("click", () => at("camera-dialog").close());
at("camera-dialog").addEventListener("close", () => {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
});

// --- answers out -------------------------------------------------------------------------------------------------

function show(entry) {
  current = entry;
  const row = entry.row;
  at("result").hidden = false;
  at("answer").className = `answer${row?.reason ? " refused" : ""}${row?.sure === false ? " doubt" : ""}`;
  at("unsure").hidden = row?.sure !== false;
  at("name").textContent = row ? (row.reason ? "This picture cannot be used" : row.guesses[0].class_name) : "…";
  at("share").textContent = row ? (row.reason ? `${row.detail} (${row.reason})` : percent(row.guesses[0].probability)) : "";
  at("bars").replaceChildren(...(row?.guesses ?? []).map(bar));
  at("views").hidden = !explains || !row || Boolean(row.reason);
  showPicture(entry);
  listEntries();
}

function bar(guess) {
  const item = element("li");
  const track = element("div", "track");
  const fill = element("i");
  fill.style.setProperty("--share", guess.probability);
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  item.append(element("span", "name", guess.class_name), element("span", "number", percent(guess.probability)), track);
  return item;
}

function showPicture(entry) {
  const heat = entry.view === "heat" && entry.heat;
  const picture = at("picture");
  const about = entry.row?.guesses[0]?.class_name;
  picture.hidden = false;
  at("no-preview").hidden = true;
  picture.onerror = () => {
    picture.hidden = true;
    at("no-preview").hidden = false;
  };
  picture.onload = () => picture.classList.toggle("tiny", picture.naturalWidth < 100);
  picture.src = heat ? entry.heat : entry.url;
  picture.alt = heat ? `${entry.file.name}, with heat where the network found ${about}` : entry.file.name;
  at("caption").textContent = heat
    ? `Bright places spoke for ${about} (${entry.found}). The picture is shown as the network was given it.`
    : entry.file.name;
  at("plain").setAttribute("aria-pressed", String(!heat));
  at("heat").setAttribute("aria-pressed", String(Boolean(heat)));
  at("frame").setAttribute("aria-busy", String(Boolean(entry.busy)));
}

at("plain").addEventListener("click", () => view("plain"));
at("heat").addEventListener("click", () => view("heat"));

async function view(which) {
  const entry = current;
  entry.view = which;
  if (which === "heat" && !entry.heat) {
    busy(entry, true);
    try {
      const about = encodeURIComponent(entry.row.guesses[0].class_name);
      const answer = await ask(`/v1/explain?class=${about}`, form(entry.file));
      entry.heat = URL.createObjectURL(await answer.blob());
      entry.found = decodeURIComponent(answer.headers.get("Saccade-Heat") ?? "");
      say(`The heat map for ${entry.row.guesses[0].class_name} is shown`);
    } catch (problem) {
      entry.view = "plain";
      complain(problem);
    }
    busy(entry, false);
  }
  if (entry === current) showPicture(entry);
}

function inWords(entry) {
  const row = entry.row;
  if (row.reason) return `${entry.file.name} cannot be used: ${row.detail}`;
  const [best] = row.guesses;
  return `${entry.file.name}: ${row.sure ? "" : "not sure, perhaps "}${best.class_name}, ${percent(best.probability)}`;
}

// --- what was shown ----------------------------------------------------------------------------------------------

function remember(entry) {
  entries.unshift(entry);
  for (const old of entries.splice(MOST_SHOWN)) forget(old);
}

function forget(entry) {
  URL.revokeObjectURL(entry.url);
  if (entry.heat) URL.revokeObjectURL(entry.heat);
}

function listEntries() {
  at("history").hidden = entries.length === 0;
  at("shown").replaceChildren(...entries.map(listed));
}

function listed(entry) {
  const item = element("li");
  const button = element("button");
  const picture = element("img");
  const words = element("span", "words");
  const row = entry.row;
  button.type = "button";
  button.setAttribute("aria-current", String(entry === current));
  picture.src = entry.url;
  picture.alt = "";
  picture.onerror = () => picture.replaceWith(element("span", "none"));
  words.append(element("b", "", row ? row.guesses[0]?.class_name ?? "cannot be used" : "…"));
  if (row?.reason) words.append(element("span", "bad", row.reason));
  else if (row) words.append(element("span", row.sure ? "muted" : "maybe", `${row.sure ? "" : "not sure, "}${percent(row.guesses[0].probability)}`));
  words.append(element("span", "unseen", `, ${entry.file.name}`));
  button.append(picture, words);
  button.addEventListener("click", () => {
    show(entry);
    [...at("shown").querySelectorAll("button")][entries.indexOf(entry)]?.focus();
  });
  item.append(button);
  return item;
}

at("forget").addEventListener("click", () => {
  for (const entry of entries.splice(0)) forget(entry);
  current = null;
  at("result").hidden = true;
  listEntries();
  say("All pictures are forgotten");
  at("choose").focus();
});

// --- words -------------------------------------------------------------------------------------------------------

function busy(entry, is) {
  entry.busy = is;
  if (entry === current) at("frame").setAttribute("aria-busy", String(is));
}

function say(text) {
  at("status").textContent = text;
}

function complain(problem) {
  at("notice").textContent = problem.remedy ? `${problem.message}. ${problem.remedy}` : problem.message;
  at("notice").hidden = false;
}

begin();

// What the page says to the server, and how shares are written. No state here.

export class Problem extends Error {
  constructor(problem) {
    super(problem.detail);
    Object.assign(this, { status: problem.status, reason: problem.reason, remedy: problem.remedy, row: problem.predictions?.[0] });
  }
}

const PATIENCE = 4;

// 503 means: the same request a little later.
export async function ask(path, options = {}) {
  for (let attempt = 1; ; attempt++) {
    const answer = await fetch(path, { ...options, credentials: "same-origin" });
    if (answer.ok) return answer;
    if (answer.status === 503 && attempt < PATIENCE) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, seconds * 1000 * attempt));
      continue;
    }
    throw new Problem(await problemOf(answer));
  }
}

async function problemOf(answer) {
  try {
    return await answer.json();
  } catch {
    return { status: answer.status, reason: "unknown", detail: `the server answered ${answer.status}` };
  }
}

export function form(file) {
  const body = new FormData();
  body.append("pictures", file, file.name || "picture");
  return { method: "POST", body };
}

// What is almost all or almost nothing is never rounded to it.
export function percent(share) {
  const text = (share * 100).toFixed(1);
  if (share < 1 && text === "100.0") return ">99.9%";
  if (share > 0 && text === "0.0") return "<0.1%";
  return `${text}%`;
}

export function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

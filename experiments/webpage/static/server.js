// Requests to the program behind the page: its token, errors as sentences, and another try where it is busy.

const TOKEN = document.querySelector("meta[name=page-token]").content;
const TRIES = 4;

// The answer to a request; an Error with a sentence for people where there is none. `signal` gives it up.
export async function ask(method, path, { query = {}, body, signal, waiting = () => {} } = {}) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value !== undefined));
  const address = words.size ? `${path}?${words}` : path;
  for (let left = TRIES; ; left--) {
    const answer = await sent(method, address, body, signal);
    if (answer.ok) {
      return answer;
    }
    const again = Number(answer.headers.get("retry-after"));
    if (answer.status === 503 && again && left > 1) {
      waiting(again);
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(again, 20)));
      signal?.throwIfAborted();
      continue;
    }
    throw new Error(await sentence(answer));
  }
}

async function sent(method, address, body, signal) {
  const headers = { "x-page-token": TOKEN };
  if (body) {
    headers["content-type"] = "application/octet-stream";
  }
  try {
    return await fetch(address, { method, headers, body, credentials: "omit", redirect: "error", signal });
  } catch {
    signal?.throwIfAborted();
    throw new Error("The program behind this page does not answer: look whether it still runs, then try again.");
  }
}

async function sentence(answer) {
  try {
    return (await answer.json()).error || `The program refused it (${answer.status}).`;
  } catch {
    return `The program refused it (${answer.status}): try again.`;
  }
}

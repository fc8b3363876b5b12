// Requests to our own gateway. A failure is an ApiFailure that says what to do.

export class ApiFailure extends Error {
  constructor(status, code, message, remedy) {
    super(message);
    Object.assign(this, { status, code, remedy });
  }
}

let onSignedOut = () => {};

export function whenSignedOut(listener) {
  onSignedOut = listener;
}

export async function request(method, path, { body, bearer, isQuiet = false, isLast = false } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  let answer;
  try {
    const text = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(path, { method, headers, body: text, keepalive: isLast }); // the last one outlives its page
  } catch {
    throw new ApiFailure(0, "unreachable", "The gateway does not answer.", "Check that it runs, then try again.");
  }
  const found = await answer.json().catch(() => null);
  if (answer.ok) return found;
  const error = found?.error ?? {};
  if (answer.status === 401 && !isQuiet) onSignedOut();
  const message = error.message ?? `The gateway answered ${answer.status}.`;
  throw new ApiFailure(answer.status, error.code ?? "", message, error.remedy ?? "");
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { body, ...options });

// What the page asks of the server, and what it tells it.

const token = location.pathname.split("/")[1];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

/** Pictures, kept for a few images, so that the next one is there when it is wanted. */
export class Pictures {
  #kept = new Map();

  get(id) {
    const found = this.#kept.get(id) ?? this.#fetch(id);
    this.#kept.delete(id);
    this.#kept.set(id, found); // the last asked for stands last
    for (const [old, url] of this.#kept) {
      if (this.#kept.size <= 4) break;
      this.#kept.delete(old);
      url.then(URL.revokeObjectURL, () => {});
    }
    return found;
  }

  async #fetch(id) {
    const answer = await fetch(`picture/${id}`);
    if (answer.ok) return URL.createObjectURL(await answer.blob());
    this.#kept.delete(id);
    throw new Error(`${answer.status}`);
  }
}

/**
 * Saves in order, the newest state of an image only, and again until the server has it.
 * `heard(word, id, detail)` is told: saving, kept, lost, refused, elsewhere.
 */
export class Saver {
  versions = new Map();
  #waiting = new Map();
  #busy = false;
  #heard;

  constructor(heard) {
    this.#heard = heard;
    addEventListener("beforeunload", (event) => {
      if (this.#waiting.size) event.preventDefault();
    });
  }

  waits(id) {
    return this.#waiting.has(id);
  }

  save(id, said) {
    this.#waiting.set(id, said);
    if (!this.#busy) this.#send();
  }

  async #send() {
    this.#busy = true;
    while (this.#waiting.size) {
      const [id, said] = this.#waiting.entries().next().value;
      this.#heard("saving", id);
      if (!(await this.#post(id, said))) await sleep(1000);
    }
    this.#busy = false;
  }

  /** Whether it need not be said again. */
  async #post(id, said) {
    const body = JSON.stringify({ ...said, version: this.versions.get(id) ?? "" });
    let answer, content;
    try {
      answer = await fetch(`api/image/${id}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Review-Token": token },
        keepalive: body.length < 60000, // goes on when the tab is closed; browsers allow it 64 kB
        body,
      });
      content = await answer.json();
    } catch {
      this.#heard("lost", id);
      return false;
    }
    if (answer.status >= 500) {
      this.#heard("refused", id, content.error);
      return false;
    }
    if (answer.ok) this.versions.set(id, content.version);
    if (!answer.ok || this.#waiting.get(id) === said) this.#waiting.delete(id);
    if (answer.ok) this.#heard("kept", id, content);
    else if (answer.status === 409) this.#heard("elsewhere", id);
    else this.#heard("refused", id, content.error);
    return true;
  }
}

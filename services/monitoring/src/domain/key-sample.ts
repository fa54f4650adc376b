/**
 * Picks entity keys by their hash: whether a key is in does not depend on when or where it is asked, and a key that is in
 * a share is in every greater one. The hash is FNV-1a of `entity=key` pairs in the order of the entities' names, mixed
 * as MurmurHash3 ends (fmix32), so that keys that are alike are spread evenly.
 */
export class KeySample {
  readonly #end: number;

  /** `share`: 0 to 1. */
  constructor(share: number) {
    this.#end = share * 2 ** 32;
  }

  has(entities: Readonly<Record<string, string>>): boolean {
    let hash = 0x811c9dc5;
    for (const name of Object.keys(entities).sort()) {
      const text = `${name}=${entities[name]}\n`;
      for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0 < this.#end;
  }
}
